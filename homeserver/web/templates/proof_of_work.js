"use strict";
// Searches for the number whose hash the server wants, in small steps so that the page stays usable. SHA-256 stands
// here by itself: browsers offer theirs on encrypted pages alone.
const K = new Uint32Array(64);
const H = new Uint32Array(8);
for (let n = 2, found = 0; found < 64; n++) {
  let isPrime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) isPrime = false;
  if (!isPrime) continue;
  if (found < 8) H[found] = (Math.sqrt(n) % 1) * 2 ** 32;
  K[found++] = (Math.cbrt(n) % 1) * 2 ** 32;
}
const W = new Uint32Array(64);

function sha256(text) {
  const size = ((text.length + 8) >> 6) * 64 + 64;
  const data = new DataView(new ArrayBuffer(size));
  for (let i = 0; i < text.length; i++) data.setUint8(i, text.charCodeAt(i));
  data.setUint8(text.length, 0x80);
  data.setUint32(size - 4, text.length * 8);
  const state = Uint32Array.from(H);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let at = 0; at < size; at += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) {
        W[i] = data.getUint32(at + 4 * i);
      } else {
        const x = W[i - 15];
        const y = W[i - 2];
        W[i] = W[i - 16] + W[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
      }
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
  }
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

function search(asked) {
  return new Promise((done) => {
    let number = 0;
    const step = () => {
      const until = performance.now() + 20;
      while (performance.now() < until) {
        for (let i = 0; i < 200 && number <= asked.maxnumber; i++, number++) {
          if (sha256(asked.salt + number) === asked.challenge) return done(number);
        }
      }
      setTimeout(step);
    };
    step();
  });
}

const form = document.querySelector("form[data-work]");
const asked = JSON.parse(form.dataset.work);
const working = form.querySelector("[data-working]");
const solved = search(asked).then((number) => {
  const { algorithm, challenge, salt, signature } = asked;
  form.elements.response.value = btoa(JSON.stringify({ algorithm, challenge, number, salt, signature }));
  working.hidden = true;
  form.dataset.solved = "true";
});
form.addEventListener("submit", async (event) => {
  if (form.elements.response.value) return;
  event.preventDefault();
  working.hidden = false;
  await solved;
  form.requestSubmit();
});
