// Runs before the modules are there: the colours, so that a dark page never flashes white, and the first question, so that
// the catalogue's answer is on its way while the rest still comes (api.js takes it from `early`).
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("moodstream-theme"); } catch { /* storage is forbidden: follow the system */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  if (!["", "#/", "#/catalogue"].includes(location.hash)) return;
  const url = new URL("v1/media?sparkline=true&limit=100", document.baseURI.split("#")[0]).href, answer = fetch(url);
  answer.catch(() => { /* whoever asks again hears of it */ });
  window.early = { [url]: answer };
})();
