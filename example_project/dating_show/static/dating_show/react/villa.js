/**
 * The villa on React, with the hooks of the package. No build: `h` is React's `createElement`.
 *
 * A card renders when what it selects has changed, and counts how often. The list renders with each change of anybody.
 */

import { Face } from "../face.js";
import {
  createElement as h,
  createRoot,
  memo,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "../vendor/react.js";
import { UpdatePipelineProvider, useAgent, useChannel, useUpdatePipeline } from "../vendor/hooks.js";

/** What a card may look at. Functions that stay the same: one made anew with each render would be asked again. */
const LOOKS = {
  mood: (agent) => ({ identity: agent?.identity, says: agent?.emotions?.mood }),
  place: (agent) => ({ identity: agent?.identity, says: agent?.whereabouts?.place_label }),
  doing: (agent) => ({ identity: agent?.identity, says: agent?.current_action }),
  everything: (agent) => agent,
};
const CALLS = {
  mood: "useAgent(id, (agent) => agent?.emotions?.mood)",
  place: "useAgent(id, (agent) => agent?.whereabouts?.place_label)",
  doing: "useAgent(id, (agent) => agent?.current_action)",
  everything: "useAgent(id)",
};

/** How often the component that calls it has rendered. */
function useRenders() {
  const count = useRef(0);
  count.current += 1;
  return count.current;
}

/** How often an agent's state came to this page anew: it renders with each change, and takes no card with it. */
const Changes = memo(function Changes({ id }) {
  const agent = useAgent(id);
  const counted = useRef({ agent: undefined, changes: 0 });
  if (counted.current.agent !== agent) counted.current = { agent, changes: counted.current.changes + 1 };
  const { changes } = counted.current;
  return h("span", null, h("b", { className: "changes" }, changes), changes === 1 ? " change" : " changes");
});

function Portrait({ id, identity, emotions }) {
  const place = useRef(null);
  const face = useRef(null);
  useLayoutEffect(() => {
    face.current ??= new Face(id);
    place.current.replaceChildren(face.current.element);
    face.current.setIdentity(identity);
    face.current.setMood(emotions?.valence ?? 0.1, emotions?.energy ?? 0.6);
  }, [id, identity, emotions]);
  return h("span", { className: "portrait", ref: place });
}

const Card = memo(function Card({ id, look }) {
  const seen = useAgent(id, LOOKS[look]);
  const renders = useRenders();
  const identity = seen?.identity;
  const says = look === "everything" ? [seen?.emotions?.mood, seen?.current_action].join(", ") : seen?.says;
  return h(
    "li",
    { className: "person", "data-agent": id, "data-renders": renders },
    h("span", { className: "rendered", key: renders, "aria-hidden": true }),
    h(Portrait, { id, identity, emotions: seen?.emotions }),
    h("div", null, h("h2", null, identity?.first_name ?? id), h("p", { className: "says" }, says)),
    h("p", { className: "counts" }, h("b", { className: "renders" }, renders), renders === 1 ? " render, " : " renders, ", h(Changes, { id })),
  );
});

function People({ look }) {
  const { agents } = useChannel();
  const renders = useRenders();
  return h(
    "section",
    { "aria-label": "Who is here" },
    h("p", { className: "list-count" }, "Each card calls ", h("code", null, CALLS[look]), ". The list around them calls ", h("code", null, "useChannel()"), " and rendered ", h("b", { id: "list-renders" }, renders), " times."),
    h("ul", { className: "people" }, [...agents.keys()].map((id) => h(Card, { key: id, id, look }))),
  );
}

/** Nothing is said of a status that is over in a moment. */
function Status() {
  const { client, status } = useUpdatePipeline();
  const view = useChannel().status;
  const isCut = status.state === "closed";
  const name = view === "live" ? "live" : status.state === "open" || view === "loading" ? "catching-up" : "offline";
  const words = { live: "live", "catching-up": "catching up", offline: "stale, no line" };
  useEffect(() => {
    document.body.classList.toggle("stale", view === "stale");
  }, [view]);
  return h(
    "div",
    { className: "pulse" },
    h("span", { className: "status", "data-state": name, role: "status" }, h("span", { className: "status-dot", "aria-hidden": true }), words[name]),
    h("button", { className: "button", type: "button", onClick: () => (isCut ? client.reconnect() : client.disconnect()) }, isCut ? "Come back" : "Cut the line"),
  );
}

function Looks({ look, onLook }) {
  const option = (name) =>
    h("label", { key: name }, h("input", { type: "radio", name: "look", value: name, checked: look === name, onChange: () => onLook(name) }), h("span", null, name));
  return h("fieldset", { className: "switch" }, h("legend", null, "Each card selects"), Object.keys(LOOKS).map(option));
}

function Page() {
  const [look, setLook] = useState("mood");
  return [
    h("div", { className: "controls", key: "controls" }, h(Looks, { look, onLook: setLook }), h(Status)),
    h(People, { look, key: "people" }),
  ];
}

const root = document.getElementById("root");
createRoot(root).render(
  h(
    UpdatePipelineProvider,
    { url: root.dataset.socket, channel: "dating_show_updates", options: { storage: sessionStorage } },
    h(Page),
  ),
);
