// Built from js/src by js/build.mjs; do not edit. The sources have the comments.


// src/react.ts
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore
} from "react";
import { ActionError, connect, shallowEqual } from "django-update-pipeline";
var DEFAULT_CHANNEL = "updates";
var Pipeline = createContext(null);
var UpdatePipelineProvider = (props) => {
  const { client: given, url = null, channel = DEFAULT_CHANNEL } = props;
  const [made, setMade] = useState(null);
  const options = useRef(props.options);
  useEffect(() => {
    options.current = props.options;
  });
  useEffect(() => {
    if (given !== void 0) return void 0;
    const client2 = connect(url, options.current);
    setMade(client2);
    return () => {
      setMade(null);
      client2.close();
    };
  }, [given, url]);
  const client = given ?? made;
  const shared = useMemo(() => ({ client, channel }), [client, channel]);
  return createElement(Pipeline.Provider, { value: shared }, props.children);
};
function useShared() {
  const shared = useContext(Pipeline);
  if (shared === null) throw new Error("no UpdatePipelineProvider is around this component: put one near the root");
  return shared;
}
var NOT_YET = Object.freeze({ state: "connecting", code: 0, reason: "", retryInMs: 0 });
function useUpdatePipeline() {
  const { client } = useShared();
  const subscribe = useCallback((call) => client?.onStatus(call) ?? (() => {
  }), [client]);
  const now = () => client?.status ?? NOT_YET;
  const status = useSyncExternalStore(subscribe, now, () => NOT_YET);
  return useMemo(() => {
    const act = (...call) => client?.act(...call) ?? Promise.reject(new ActionError("client_closed", "there is no client yet"));
    return { client, status, act };
  }, [client, status]);
}
var EMPTY = Object.freeze({ agents: /* @__PURE__ */ new Map(), status: "loading", missed: 0 });
function useChannel(name, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = name ?? shared.channel;
  const subscribe = useSubscription(client, channel, options, null);
  return useSyncExternalStore(
    subscribe,
    () => client?.peek(channel) ?? EMPTY,
    () => EMPTY
  );
}
function useAgent(agentId, selector = whole, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const equal = options.equal ?? shallowEqual;
  const rendered = useRef(null);
  const select = useMemo(() => {
    let last = null;
    return () => {
      const agent = client?.peekAgent(channel, agentId);
      if (last !== null && last.agent === agent) return last.selection;
      const before = last ?? rendered.current;
      const selection2 = selector(agent);
      last = { agent, selection: before !== null && equal(before.selection, selection2) ? before.selection : selection2 };
      return last.selection;
    };
  }, [client, channel, agentId, selector, equal]);
  const subscribe = useSubscription(client, channel, options, agentId);
  const selection = useSyncExternalStore(subscribe, select, () => selector(void 0));
  useEffect(() => {
    rendered.current = { selection };
  }, [selection]);
  return selection;
}
function useEvents(call, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const wanted = key(options.fields);
  const newest = useRef(call);
  useEffect(() => {
    newest.current = call;
  });
  useEffect(() => {
    if (client === null || client.isClosed) return void 0;
    const view = open(client, channel, wanted);
    view.onEvent((event) => newest.current(event));
    return () => view.close();
  }, [client, channel, wanted]);
}
function whole(agent) {
  return agent;
}
function useSubscription(client, channel, { fields }, agentId) {
  const wanted = key(fields);
  return useCallback(
    (call) => {
      if (client === null || client.isClosed) return () => {
      };
      const view = open(client, channel, wanted);
      if (agentId === null) view.subscribe(call);
      else view.subscribeAgent(agentId, call);
      return () => view.close();
    },
    [client, channel, wanted, agentId]
  );
}
function key(fields) {
  return fields === void 0 ? null : JSON.stringify(fields);
}
function open(client, channel, wanted) {
  return client.channel(channel, wanted === null ? {} : { fields: JSON.parse(wanted) });
}
export {
  UpdatePipelineProvider,
  useAgent,
  useChannel,
  useEvents,
  useUpdatePipeline
};
