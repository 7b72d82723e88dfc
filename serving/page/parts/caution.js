// What the numbers are not, said where they are shown. The words are those of docs/science-and-misuse.md.

import { h } from "../dom.js";

const SHORT = {
  media: ["What a panel of listeners would hear in this sound, not what anybody feels.", " The band is ± one standard deviation by the model's own account; a difference smaller than two of them is no difference. Hatched stretches have no estimate."],
  search: ["Found by how the estimated curves move, not by what a piece means or what it does to you.", " The level of a piece is far better known than the movement within it, and valence is the harder of the two."],
  live: ["How a voice would sound to listeners, not what the caller feels, and never whether somebody lies.", " Agents get no emotions here: inferring employees' emotions at work is forbidden in the EU. Do not decide about people with these numbers."],
  microphone: ["A guess about how your voice sounds, not about you.", " Words are not understood; a microphone nearer to the mouth, another language, illness or an accent change the numbers. Nothing is recorded or stored."],
  models: ["Measured on speakers, songs and artists that training did not hear, but on acted speech and small corpora.", " Expect worse on real telephones, other languages and other genres."],
};
const MORE = [
  "Acted is not felt: most labelled speech is acted, by few speakers, in a studio.",
  "Irony, politeness and habit stay invisible; one human rater agrees with the mean of the others at about .70 for valence.",
  "No estimate is not neutral: nobody was speaking or playing, or the law or a setting forbids the answer.",
  "Not for decisions about people: not hiring, pay, credit, schooling, policing, diagnosis. A recommendation that follows somebody's low is a decision about a person too.",
];

export function caution(where) {
  const [first, rest] = SHORT[where];
  return h("div", { class: "caution", role: "note" }, h("b", {}, first), rest, " ", h("details", {}, h("summary", {}, "What the numbers are not"), h("ul", {}, MORE.map(line => h("li", {}, line)))));
}
