/** Small faces: a figure's colour, its mood in the mouth and the eyes. SVG elements, no markup strings. */

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

const HAIR = new Map([
  ["short", "M6.500 18C5 8 11 3 20 3 29 3 35 8 33.500 18 31 14 30 12 27 11 22 13 14 12 11.500 11 9 13 8 15 6.500 18z"],
  ["wave", "M6 17C5 8 12 2 21 2.500 30 2 36 9 34 18 32 14 30 12 28 9.500 24 13 15 13.500 10 11.500 8 13 7 15 6 17z"],
  ["curls", "M5.500 18C2 14 5 10 7.500 9.500 7 5 13 2 16 4 18 1 25 1 26.500 4.500 31 3 34.500 7 33 10 37 12 36 16 34.500 18 32 13 29 11 20 11 11 11 8 13 5.500 18z"],
  ["bob", "M5.500 28C2 12 9 2.500 20 2.500 31 2.500 38 12 34.500 28 32.500 28 31 27 31 25 32 18 31 13 26 10 21 13 14 12.500 11 12 8.500 15 8 20 9 25 9 27 7.500 28 5.500 28z"],
  ["long", "M4.500 33C1.500 14 8 2.500 20 2.500 32 2.500 38.500 14 35.500 33 33 34 31 32 31 29 33 20 31.500 13 20.500 9.500 8.500 13 7 20 9 29 9 32 7 34 4.500 33z"],
]);
const HAIR_TONES = ["#2b2220", "#5a3a26", "#c79a5b", "#8a4b2e", "#3b3a40"];
const SKIN_TONES = ["#8d5a3c", "#e7b48f", "#f3cfb3", "#c98e63", "#efc4a0", "#a9714b"];
const HEX = /^#[0-9a-f]{6}$/i;

/** A colour that may stand in a style: anything else, such as `url(...)`, is a neutral one. */
export function plainColour(colour) {
  return typeof colour === "string" && HEX.test(colour) ? colour : "#8a8791";
}

function pick(list, text, salt) {
  let hash = salt;
  for (const letter of text) hash = (hash * 33 + letter.codePointAt(0)) % 9973;
  return list[hash % list.length];
}

/** A face for an agent; `setMood` redraws mouth and eyes, `setIdentity` gives them their looks. */
export class Face {
  constructor(agentId) {
    this.head = svg("circle", { cx: 20, cy: 21, r: 14.2, fill: pick(SKIN_TONES, agentId, 17) });
    this.hair = svg("path", { d: pick([...HAIR.values()], agentId, 5), fill: pick(HAIR_TONES, agentId, 29) });
    this.ring = svg("circle", { cx: 20, cy: 20, r: 19.5, fill: "none", "stroke-width": 2.4, class: "face-ring" });
    this.mouth = svg("path", { fill: "none", stroke: "#5b2f2b", "stroke-width": 2, "stroke-linecap": "round" });
    this.eyes = svg("g", { fill: "#2b2426", stroke: "#2b2426", "stroke-width": 1.8, "stroke-linecap": "round" });
    this.cheeks = svg("g", { fill: "#e2685f", opacity: 0 },
      svg("ellipse", { cx: 12, cy: 25, rx: 3.4, ry: 2.2 }), svg("ellipse", { cx: 28, cy: 25, rx: 3.4, ry: 2.2 }));
    this.element = svg("svg", { viewBox: "0 0 40 40", "aria-hidden": "true" },
      svg("circle", { cx: 20, cy: 20, r: 19.5, fill: "#fbf4e8" }),
      this.head, this.cheeks, this.hair, this.eyes, this.mouth, this.ring);
    this.setColour(plainColour());
    this.setMood(0.1, 0.6);
  }

  setColour(colour) {
    if (typeof colour === "string" && HEX.test(colour)) this.ring.setAttribute("stroke", colour);
  }

  /** Ring, skin and hair of an agent's `identity`; what it does not say stays as the id gave it. */
  setIdentity(identity) {
    this.setColour(identity?.colour);
    const look = identity?.look;
    if (HEX.test(look?.skin)) this.head.setAttribute("fill", look.skin);
    if (HEX.test(look?.hair)) this.hair.setAttribute("fill", look.hair);
    if (HAIR.has(look?.style)) this.hair.setAttribute("d", HAIR.get(look.style));
  }

  /** valence -1..1 bends the mouth, energy 0..1 opens the eyes. */
  setMood(valence, energy) {
    const key = `${Math.round(valence * 10)}/${Math.round(energy * 10)}`;
    if (key === this.key) return;
    this.key = key;
    const bend = 5.5 * Math.max(-1, Math.min(1, valence));
    this.mouth.setAttribute("d", `M14.500 ${27.5 - bend * 0.35} Q20 ${27.5 + bend} 25.500 ${27.5 - bend * 0.35}`);
    this.cheeks.setAttribute("opacity", String(valence > 0.3 ? Math.min(0.5, valence * 0.55) : 0));
    if (energy < 0.22) {
      this.eyes.replaceChildren(svg("path", { d: "M12 21q2.500 2 5 0M23 21q2.500 2 5 0", fill: "none" }));
    } else {
      const open = 1.3 + 1.1 * Math.min(1, energy);
      this.eyes.replaceChildren(
        svg("ellipse", { cx: 14.6, cy: 20.5, rx: 1.5, ry: open, stroke: "none" }),
        svg("ellipse", { cx: 25.4, cy: 20.5, rx: 1.5, ry: open, stroke: "none" }));
    }
  }
}
