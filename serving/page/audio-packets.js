// Runs in the audio thread: sound becomes packets of 16-bit samples, big-endian (audio/L16, RFC 2586), ten a second.

class Packets extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = Math.round(sampleRate / 10);
    this.begin();
    this.port.onmessage = () => { if (this.at) this.send(); this.port.postMessage(null); };
  }
  begin() { this.packet = new DataView(new ArrayBuffer(2 * this.samples)); this.at = 0; this.peak = 0; }
  send() {
    const bytes = this.packet.buffer.slice(0, 2 * this.at);
    this.port.postMessage({ bytes, peak: this.peak }, [bytes]);
    this.begin();
  }
  process([[channel]]) {
    if (!channel) return true;
    for (const x of channel) {
      this.packet.setInt16(2 * this.at++, Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
      this.peak = Math.max(this.peak, Math.abs(x));
      if (this.at === this.samples) this.send();
    }
    return true;
  }
}

registerProcessor("packets", Packets);
