import assert from "node:assert/strict";
import test from "node:test";
import { Client } from "../dist/client.js";
import { eventStreamTransport, withFallback } from "../dist/eventstream.js";
import { streamUrl } from "../dist/transport.js";
import { Around, settled, snapshot, sync } from "./stage.mjs";

const GREETING = 'data: {"type":"connection_established","connection_id":"c","timestamp":5000}\n\n';

/** A client on a stream whose responses are the test's. */
function streamed() {
  const around = new Around();
  const requests = [];
  const fetcher = (url, { signal }) => {
    const request = { url: new URL(url), signal };
    request.answered = new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Error("aborted")));
      request.answer = (status = 200) => {
        const body = new ReadableStream({ start: (controller) => (request.controller = controller) });
        signal.addEventListener("abort", () => request.controller.error(new Error("aborted")));
        resolve({ status, body });
        return settled();
      };
    });
    request.say = async (...texts) => {
      for (const text of texts) request.controller.enqueue(new TextEncoder().encode(text));
      await settled();
      await settled();
    };
    requests.push(request);
    return request.answered;
  };
  const transport = eventStreamTransport("http://x/stream/", fetcher, around.now);
  const client = new Client("/ws/updates/", { transport, surroundings: around });
  return { client, around, requests };
}

const event = (ids, frame) => `id: ${ids}\ndata: ${JSON.stringify(frame)}\n\n`;
const asked = ({ url }) => Object.fromEntries(url.searchParams);

async function live() {
  const stage = streamed();
  const view = stage.client.channel("villa");
  await settled();
  const [request] = stage.requests;
  await request.answer();
  await request.say(": \nretry: 2000\n\n", GREETING, event("villa=e:10", snapshot(10, { a: { x: 1, y: 1 } })));
  return { ...stage, view, request };
}

test("frames come as events, also in pieces", async () => {
  const { view, request, client } = await live();
  assert.equal(view.status, "live");
  assert.deepEqual(asked(request), { channels: "villa" });
  const text = event("villa=e:11", sync({ from: 10, to: 11, agents: { a: { set: { x: "ä" }, at: 1 } } }));
  const bytes = new TextEncoder().encode(text);
  for (const byte of bytes) request.controller.enqueue(new Uint8Array([byte]));
  await settled();
  await settled();
  assert.equal(view.get("a").x, "ä");
  assert.ok(client.serverTime >= 5000);
});

test("another subscription is another response, from where the last event stood", async () => {
  const { client, view, request, requests } = await live();
  const map = client.channel("map");
  await settled();
  assert.ok(request.signal.aborted);
  assert.deepEqual(asked(requests[1]), { channels: "villa,map", since: "villa=e:10" });
  await requests[1].answer();
  // An event tells of all channels; one of which nothing came yet stays where it was.
  await requests[1].say(GREETING, event("villa=-,map=e:7", { ...snapshot(7, { m: {} }), channel: "map" }));
  assert.equal(map.status, "live");
  client.channel("news");
  await settled();
  assert.deepEqual(asked(requests[2]).since, "villa=e:10,map=e:7");
  assert.equal(view.agents.size, 1);
});

test("channels that no event names were refused, and those that are named no more were withdrawn", async () => {
  const { client, view, requests } = await live();
  const secret = client.channel("secret");
  await settled();
  await requests[1].answer();
  await requests[1].say(GREETING, event("villa=e:11", sync({ from: 10, to: 11 })));
  assert.equal(secret.status, "refused");
  assert.equal(view.status, "live");
  const map = client.channel("map");
  await settled();
  assert.equal(asked(requests[2]).channels, "villa,map");
  await requests[2].answer();
  await requests[2].say(event("villa=e:12,map=e:7", { ...snapshot(7, { m: {} }), channel: "map" }));
  await requests[2].say(event("map=e:8", { ...sync({ from: 7, to: 8 }), channel: "map" }));
  assert.equal(view.status, "refused");
  assert.equal(view.agents.size, 0);
  assert.equal(map.status, "live");
});

test("where nothing is allowed, all is refused, and the line does not come back for it", async () => {
  const { client, around, requests } = streamed();
  const view = client.channel("villa");
  await settled();
  await requests[0].answer(403);
  await settled();
  assert.equal(view.status, "refused");
  await around.pass(100_000);
  assert.equal(requests.length, 1);
});

test("a stream that ends, breaks or is refused leads to the next attempt; a close says whether to", async () => {
  for (const [how, code] of [
    [(request) => request.controller.close(), 1006],
    [(request) => request.controller.error(new Error("broken")), 1006],
    [(request) => request.say('event: close\ndata: {"code":4010,"reason":"stopping","reconnect":true}\n\n'), 4010],
  ]) {
    const { client, view, request, requests, around } = await live();
    await how(request);
    await settled();
    await settled();
    assert.deepEqual([client.status.state, client.status.code, view.status], ["waiting", code, "stale"]);
    await around.pass(client.status.retryInMs);
    assert.deepEqual(asked(requests[1]), { channels: "villa", since: "villa=e:10" });
  }
  const ended = await live();
  await ended.request.say('event: close\ndata: {"code":4001,"reason":"over","reconnect":false}\n\n');
  assert.equal(ended.client.status.state, "closed");
  for (const [status, state, code] of [[401, "closed", 4401], [429, "waiting", 4429], [404, "waiting", 1006], [503, "waiting", 1006]]) {
    const { client, requests } = streamed();
    client.channel("villa");
    await settled();
    await requests[0].answer(status);
    await settled();
    assert.deepEqual([client.status.state, client.status.code], [state, code]);
  }
});

test("heartbeats keep the line, and their absence ends it", async () => {
  const { client, around, request } = await live();
  for (let beat = 0; beat < 6; beat++) {
    await around.pass(15_000);
    await request.say(":\n\n");
    assert.equal(client.status.state, "open");
  }
  const states = [];
  client.onStatus(({ state }) => states.push(state));
  await around.pass(45_000);
  assert.deepEqual(states, []);
  await around.pass(30_000);
  assert.equal(states[0], "waiting");
  assert.ok(request.signal.aborted);
});

test("projections are asked for, and their positions name the view", async () => {
  const { client, requests } = streamed();
  const view = client.channel("villa", { fields: ["x", "y,"].map((name) => name[0]) });
  const map = client.channel("map", { fields: ["z"] });
  await settled();
  assert.deepEqual(requests[0].url.searchParams.getAll("fields"), ["villa:x,y", "map:z"]);
  await requests[0].answer();
  await requests[0].say(event("map=-,villa=e:10:x%2Cy", { ...snapshot(10, { a: { x: 1, y: 1 } }), view: "x,y" }));
  assert.deepEqual({ ...view.get("a") }, { x: 1, y: 1 });
  assert.equal(view.status, "live");
  assert.equal(map.status, "loading");
  client.channel("news");
  await settled();
  assert.equal(asked(requests[1]).since, "villa=e:10:x%2Cy");
});

test("a page that comes back by a stream names its views as the server did", async () => {
  const { client, requests, around, request } = await live();
  await request.say(event("villa=e:12:x%2C%2Cno-events", { ...snapshot(12, { a: { x: 1 } }), view: "x,,no-events" }));
  request.controller.close();
  await settled();
  await settled();
  await around.pass(client.status.retryInMs);
  assert.equal(asked(requests[1]).since, "villa=e:12:x%2C%2Cno-events");
});

test("what is said to everybody comes on streams, too, also what was said while there was no line", async () => {
  const { client, requests, around } = streamed();
  const heard = [];
  client.onNotification(({ message }) => heard.push(message));
  await settled();
  assert.deepEqual(asked(requests[0]), { channels: "update_pipeline.system" });
  await requests[0].answer();
  const of = (offset, frame) => event(`update_pipeline.system=e:${offset}`, { ...frame, channel: "update_pipeline.system" });
  await requests[0].say(GREETING, of(0, { ...snapshot(0, {}) }));
  const said = (offset, message) => ({ offset, agent_id: "s", update_type: "system_notification", data: { message }, timestamp: 1 });
  await requests[0].say(of(7, sync({ from: 0, to: 7, events: [said(7, "one")] })));
  requests[0].controller.close();
  await settled();
  await settled();
  await around.pass(client.status.retryInMs);
  assert.deepEqual(asked(requests[1]), { channels: "update_pipeline.system", since: "update_pipeline.system=e:7" });
  await requests[1].answer();
  await requests[1].say(GREETING, of(9, sync({ from: 7, to: 9, events: [said(9, "two")] })));
  assert.deepEqual(heard, ["one", "two"]);
});

test("what is asked for in several frames at once is one request", async () => {
  const { client, requests } = streamed();
  const views = Array.from({ length: 60 }, (_, at) => client.channel(`c${at}`));
  await settled();
  assert.equal(requests.length, 1);
  await requests[0].answer();
  const ids = views.map(({ name }) => `${name}=e:${name === "c59" ? 3 : 0}`).join(",");
  await requests[0].say(event(ids, { ...snapshot(3, { a: {} }), channel: "c59" }));
  assert.equal(views[59].status, "live");
  assert.equal(views[0].status, "loading");
});

test("an action has no way up", async () => {
  const { client } = await live();
  await assert.rejects(client.act("a", "move"), { code: "no_way_up" });
});

test("a channel that is left is asked for no more", async () => {
  const { client, view, requests, around } = await live();
  client.channel("map");
  await settled();
  view.close();
  await around.pass(1001);
  assert.equal(asked(requests.at(-1)).channels, "map");
});

test("the second transport has its turn where the first does not work, and the first again when it does", () => {
  const opened = [];
  const kind = (name) => ({ open: (handlers) => (opened.push(name), { handlers }) });
  const both = withFallback(kind("socket"), kind("stream"));
  const handlers = { message() {}, closed() {} };
  const attempt = (isGreeted) => {
    const { handlers: own } = both.open(handlers);
    own.message('{"type":"connection_established"}'); // what a stream says by itself is no greeting
    if (isGreeted) own.message('{"type":"connection_established","connection_id":"c"}');
    own.closed(1006, "");
  };
  for (const isGreeted of [false, false, false, false, true, false, true, false, false, true]) attempt(isGreeted);
  assert.deepEqual(opened, [
    "socket", "socket", "stream", "socket", "stream", // worked
    "socket", "stream", // worked: it has its turn after one attempt
    "socket", "stream", "socket", // worked
  ]);
  opened.length = 0;
  for (const isGreeted of [false, false, false]) attempt(isGreeted);
  assert.deepEqual(opened, ["socket", "socket", "stream"]);
});

test("a stream that works after a restart is left for one more attempt of the socket, and stays if that fails", () => {
  const opened = [];
  const kind = (name) => ({ open: (handlers) => (opened.push(name), { handlers, close: () => opened.push(`${name} left`) }) });
  const both = withFallback(kind("socket"), kind("stream"));
  const told = [];
  const open = (isGreeted) => {
    const { handlers } = both.open({ message() {}, closed: (code) => told.push(code) });
    if (isGreeted) handlers.message('{"type":"connection_established","connection_id":"c"}');
    return handlers;
  };
  open(true).closed(1006, ""); // a socket has worked, and the server goes away
  open(false).closed(1006, "");
  open(false).closed(1006, "");
  open(true); // by stream: the server is back
  assert.deepEqual(opened.splice(0), ["socket", "socket", "socket", "stream", "stream left"]);
  assert.deepEqual(told.splice(0), [1006, 1006, 1006, 1006]);
  open(false).closed(1006, ""); // but no socket can be had any more
  open(true);
  assert.deepEqual(opened.splice(0), ["socket", "stream"]);
  assert.deepEqual(told, [1006]);
});

test("the stream is beside the socket", () => {
  assert.equal(streamUrl("wss://x.example/ws/updates/"), "https://x.example/ws/updates/stream/");
  assert.equal(streamUrl("http://x.example/ws/updates/"), "http://x.example/ws/updates/stream/");
});
