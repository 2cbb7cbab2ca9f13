import assert from "node:assert/strict";
import test from "node:test";
import { Window } from "happy-dom";
import { snapshot, staged, sync, settled } from "./stage.mjs";

const window = new Window();
Object.assign(globalThis, { window, document: window.document, navigator: window.navigator, IS_REACT_ACT_ENVIRONMENT: true });

const { act, createElement: h, StrictMode, useState } = await import("react");
const { createRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { UpdatePipelineProvider, useAgent, useChannel, useEvents, useUpdatePipeline } = await import("../dist/react.js");

/** A page with these children; `counts` has how often each name was rendered. */
async function page(makeChildren, { wrap = (tree) => tree, ...options } = {}) {
  const stage = staged(options);
  const counts = {};
  const count = (name) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  const container = document.createElement("div");
  const root = createRoot(container);
  const provider = { client: stage.client, channel: "villa" };
  await act(async () => root.render(wrap(h(UpdatePipelineProvider, provider, makeChildren(count, stage)))));
  const say = (...frames) => act(async () => stage.line.say(...frames));
  await act(async () => stage.line.greet());
  await act(async () => stage.line.confirm("villa"));
  await say(snapshot(10, { a: { mood: "calm", place: { x: 1 } }, b: { mood: "calm", place: { x: 1 } } }));
  return { stage, counts, container, root, say };
}

const change = (from, agents) =>
  sync({ from, to: from + 1, agents: Object.fromEntries(Object.entries(agents).map(([id, set]) => [id, { set, at: 1 }])) });

test("a component renders only when its selection changed", async () => {
  const { say, counts, container, stage } = await page((count) => {
    const Mood = ({ id }) => {
      count(id);
      return h("i", null, useAgent(id, (agent) => agent?.mood ?? "-"));
    };
    const Place = () => {
      count("place");
      const { x } = useAgent("a", (agent) => ({ x: agent?.place.x })); // another object each time, the same in it
      return h("b", null, x);
    };
    return [h(Mood, { key: 1, id: "a" }), h(Mood, { key: 2, id: "b" }), h(Place, { key: 3 })];
  });
  assert.equal(container.textContent, "calmcalm1");
  assert.equal(stage.line.all("subscribe").length, 1);
  const before = { ...counts };
  await say(change(10, { a: { mood: "happy" } }));
  assert.equal(container.textContent, "happycalm1");
  assert.deepEqual(counts, { ...before, a: before.a + 1 });
  await say(change(11, { a: { place: { x: 2 } } }));
  assert.equal(container.textContent, "happycalm2");
  assert.deepEqual(counts, { ...before, a: before.a + 1, place: before.place + 1 });
  await say(change(12, { a: { mood: "happy", other: 1 }, c: {} }));
  assert.deepEqual(counts, { ...before, a: before.a + 1, place: before.place + 1 });
  await say(sync({ from: 13, to: 14, removed: ["a"] }));
  assert.equal(container.textContent, "-calm");
});

test("a change of one agent wakes nobody who looks at another", async () => {
  const asked = new Set();
  const { say } = await page((count, { client }) => {
    const peek = client.peekAgent.bind(client);
    client.peekAgent = (channel, id) => (asked.add(id), peek(channel, id));
    const Mood = ({ id }) => useAgent(id)?.mood;
    return ["a", "b"].map((id) => h(Mood, { key: id, id }));
  });
  asked.clear();
  await say(change(10, { a: { mood: "happy" } }));
  assert.deepEqual([...asked], ["a"]);
});

test("a channel's component renders with its changes, and what did not change is the same object", async () => {
  const shown = [];
  const { say, stage, container } = await page((count) => {
    const Villa = () => {
      const villa = useChannel();
      shown.push(villa);
      return `${villa.agents.size} ${villa.status}`;
    };
    return h(Villa);
  });
  assert.equal(container.textContent, "2 live");
  assert.equal(shown[0].status, "loading");
  const before = shown.at(-1);
  await say(change(10, { a: { mood: "happy" } }));
  const after = shown.at(-1);
  assert.notEqual(after, before);
  assert.equal(before.agents.get("a").mood, "calm", "a snapshot stays what it was");
  assert.equal(after.agents.get("b"), before.agents.get("b"));
  await act(async () => stage.line.drop());
  assert.equal(container.textContent, "2 stale");
});

test("the line's state is shown, and updates don't render it", async () => {
  const { say, stage, counts, container } = await page((count) => {
    const Line = () => {
      count("line");
      return useUpdatePipeline().status.state;
    };
    const Villa = () => useChannel().agents.size;
    return [h(Line, { key: 1 }), h(Villa, { key: 2 })];
  });
  assert.equal(container.textContent, "open2");
  const before = counts.line;
  await say(change(10, { a: { mood: "happy" } }));
  assert.equal(counts.line, before);
  await act(async () => stage.line.drop());
  assert.equal(container.textContent, "waiting2");
});

test("actions are sent by the hook", async () => {
  let act_;
  const { stage } = await page(() => {
    const Button = () => {
      act_ = useUpdatePipeline().act;
      return null;
    };
    return h(Button);
  });
  const done = act_("a", "move", { x: 1 });
  const [{ id }] = stage.line.all("agent_action");
  stage.line.say({ type: "action_queued", id });
  await done;
});

test("events are heard once, by the newest callback, and render nothing", async () => {
  const heard = [];
  let rename;
  const { say, counts } = await page((count) => {
    const Ear = () => {
      count("ear");
      const [name, setName] = useState("first");
      rename = setName;
      useEvents(({ data }) => heard.push(`${name} ${data.n}`));
      return null;
    };
    return h(Ear);
  });
  const event = (offset) => ({ offset, agent_id: "a", update_type: "said", data: { n: offset }, timestamp: 1 });
  const before = counts.ear;
  await say(sync({ from: 10, to: 11, events: [event(11)] }));
  assert.equal(counts.ear, before);
  await act(async () => rename("second"));
  await say(sync({ from: 10, to: 12, events: [event(11), event(12)] }));
  assert.deepEqual(heard, ["first 11", "second 12"]);
});

test("what leaves the page leaves the channel; strict mode and another agent ask for nothing twice", async () => {
  let choose;
  const Agent = () => {
    const [id, setId] = useState("a");
    choose = setId;
    return useAgent(id, (agent) => `${id} ${agent?.mood}`);
  };
  const { stage, container, root, say } = await page(() => h(Agent), { wrap: (tree) => h(StrictMode, null, tree), lingerMs: 100 });
  await say(change(10, { b: { mood: "sad" } }));
  await act(async () => choose("b"));
  assert.equal(container.textContent, "b sad");
  await say(change(11, { b: { mood: "glad" } }));
  assert.equal(container.textContent, "b glad");
  await act(async () => stage.around.pass(200));
  assert.equal(stage.line.all("subscribe").length, 1);
  await act(async () => root.unmount());
  await act(async () => stage.around.pass(200));
  assert.deepEqual(stage.line.all("unsubscribe"), [{ channels: ["villa"] }]);
});

test("a projection in a new array with each render is asked for once", async () => {
  let render;
  const Map_ = () => {
    render = useState(0)[1];
    return useChannel("map", { fields: ["x", "y"] }).status;
  };
  const { stage } = await page(() => h(Map_));
  await act(async () => render(1));
  await act(async () => settled());
  assert.deepEqual(stage.line.all("subscribe").map(({ fields }) => fields), [{ map: ["x", "y"] }]);
});

test("a provider makes a client of its own on the page, closes it, and makes none while a server renders", async () => {
  const stage = staged();
  const opened = [];
  const transport = {
    open(handlers) {
      const line = { handlers, isClosed: false, send() {}, close: () => (line.isClosed = true) };
      opened.push(line);
      return line;
    },
  };
  const App = () => `${useChannel().status} ${useUpdatePipeline().status.state} ${useAgent("a", (agent) => typeof agent)}`;
  const tree = h(UpdatePipelineProvider, { url: "ws://x/", options: { transport, surroundings: stage.around } }, h(App));
  assert.equal(renderToString(tree), "loading connecting undefined");
  assert.equal(opened.length, 0);
  const container = document.createElement("div");
  const root = createRoot(container);
  await act(async () => root.render(tree));
  assert.equal(opened.length, 1);
  await act(async () => opened[0].handlers.message('{"type":"connection_established","timestamp":1}'));
  assert.equal(container.textContent, "loading open undefined");
  await act(async () => root.unmount());
  assert.ok(opened[0].isClosed);
});

test("another address and another agent at once: the old client is closed, the new one is used", async () => {
  const around = staged().around;
  const opened = [];
  const transport = {
    open(handlers) {
      const line = { sent: [], send: (text) => line.sent.push(JSON.parse(text)), close: () => (line.isClosed = true) };
      opened.push(Object.assign(line, { handlers }));
      return line;
    },
  };
  const Agent = ({ id }) => {
    useEvents(() => {}, { channel: id });
    return typeof useAgent(id, undefined, { channel: id });
  };
  const tree = (url, id) => h(UpdatePipelineProvider, { url, options: { transport, surroundings: around } }, h(Agent, { id }));
  const root = createRoot(document.createElement("div"));
  await act(async () => root.render(tree("ws://x/", "a")));
  await act(async () => root.render(tree("ws://y/", "b")));
  assert.deepEqual(opened.map(({ isClosed }) => isClosed === true), [true, false]);
  await act(async () => opened[1].handlers.message('{"type":"connection_established","timestamp":1}'));
  assert.deepEqual(opened[1].sent.filter(({ type }) => type === "subscribe").map(({ channels }) => channels), [["b"]]);
  await act(async () => root.unmount());
});

test("without a provider the hooks say what is missing", () => {
  assert.throws(() => renderToString(h(() => useChannel().status)), /UpdatePipelineProvider/);
});
