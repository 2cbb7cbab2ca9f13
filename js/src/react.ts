/**
 * Hooks for React, on `useSyncExternalStore`: a component renders only when what it selected changed.
 *
 *     <UpdatePipelineProvider url="/ws/updates/"><Villa /></UpdatePipelineProvider>
 *     const mood = useAgent("agent_001", (agent) => agent?.mood);
 */

import {
  createContext,
  createElement,
  type FunctionComponent,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { ViewSnapshot } from "./channel.js";
import type { Client, ClientOptions } from "./client.js";
import type { Fields, Json, PipelineEvent } from "./frames.js";
import { ActionError, connect, shallowEqual } from "./index.js";
import type { LineStatus } from "./line.js";
import type { View } from "./view.js";

/** What the server's default channel is called, unless its settings say otherwise. */
const DEFAULT_CHANNEL = "updates";

interface Shared {
  client: Client | null;
  channel: string;
}

const Pipeline = createContext<Shared | null>(null);

export interface ProviderProps {
  /** A client of your own, which the provider does not close. */
  client?: Client;
  /** Else: where the socket is. Without one, where the page's `{% update_pipeline_js %}` says. */
  url?: string | null;
  /** For the client that the provider makes; read when it does. */
  options?: ClientOptions;
  /** What hooks that name no channel look at; `updates` by default. */
  channel?: string;
  children?: ReactNode;
}

/** Opens a line once it is on the page (not while a server renders), and closes it when it goes. */
export const UpdatePipelineProvider: FunctionComponent<ProviderProps> = (props) => {
  const { client: given, url = null, channel = DEFAULT_CHANNEL } = props;
  const [made, setMade] = useState<Client | null>(null);
  const options = useRef(props.options);
  useEffect(() => {
    options.current = props.options;
  });
  useEffect(() => {
    if (given !== undefined) return undefined;
    const client = connect(url, options.current);
    setMade(client);
    return () => {
      setMade(null);
      client.close();
    };
  }, [given, url]);
  const client = given ?? made;
  const shared = useMemo(() => ({ client, channel }), [client, channel]);
  return createElement(Pipeline.Provider, { value: shared }, props.children);
};

function useShared(): Shared {
  const shared = useContext(Pipeline);
  if (shared === null) throw new Error("no UpdatePipelineProvider is around this component: put one near the root");
  return shared;
}

export interface UpdatePipeline {
  /** Null on the server and before the first effect. */
  readonly client: Client | null;
  readonly status: LineStatus;
  /** `client.act`; rejects with an `ActionError` where there is no client yet. */
  act(agentId: string, action: string, params?: { [name: string]: Json }): Promise<void>;
}

const NOT_YET: LineStatus = Object.freeze({ state: "connecting", code: 0, reason: "", retryInMs: 0 });

/** The client and how its line is. Renders when the line's state changes, not with updates. */
export function useUpdatePipeline(): UpdatePipeline {
  const { client } = useShared();
  const subscribe = useCallback((call: () => void) => client?.onStatus(call) ?? (() => {}), [client]);
  const now = (): LineStatus => client?.status ?? NOT_YET;
  const status = useSyncExternalStore(subscribe, now, () => NOT_YET);
  return useMemo(() => {
    const act: UpdatePipeline["act"] = (...call) =>
      client?.act(...call) ?? Promise.reject(new ActionError("client_closed", "there is no client yet"));
    return { client, status, act };
  }, [client, status]);
}

export interface ChannelOptions {
  /** Only these top-level fields of each agent. */
  fields?: readonly string[];
}

const EMPTY: ViewSnapshot = Object.freeze({ agents: new Map<string, Fields>(), status: "loading", missed: 0 });

/** A channel's agents and what they are worth now. Renders with each change of any agent. */
export function useChannel(name?: string, options: ChannelOptions = {}): ViewSnapshot {
  const shared = useShared();
  const { client } = shared;
  const channel = name ?? shared.channel;
  const subscribe = useSubscription(client, channel, options, null);
  return useSyncExternalStore(
    subscribe,
    () => client?.peek(channel) ?? EMPTY,
    () => EMPTY,
  );
}

export interface AgentOptions<S> extends ChannelOptions {
  channel?: string;
  /** When two selections are the same; one level deep by default. */
  equal?: (one: S, other: S) => boolean;
}

/** An agent's fields; undefined while there is none. */
export function useAgent(agentId: string): Fields | undefined;
/** What a selector makes of an agent. Renders only when that is another one. */
export function useAgent<S>(agentId: string, selector: (agent: Fields | undefined) => S, options?: AgentOptions<S>): S;
export function useAgent(
  agentId: string,
  selector: (agent: Fields | undefined) => unknown = whole,
  options: AgentOptions<unknown> = {},
): unknown {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const equal = options.equal ?? shallowEqual;
  const rendered = useRef<{ selection: unknown } | null>(null);
  const select = useMemo(() => {
    let last: { agent: Fields | undefined; selection: unknown } | null = null;
    return (): unknown => {
      const agent = client?.peekAgent(channel, agentId);
      if (last !== null && last.agent === agent) return last.selection;
      const before = last ?? rendered.current;
      const selection = selector(agent);
      // An equal selection keeps its identity, also where the selector is another function with each render.
      last = { agent, selection: before !== null && equal(before.selection, selection) ? before.selection : selection };
      return last.selection;
    };
  }, [client, channel, agentId, selector, equal]);
  const subscribe = useSubscription(client, channel, options, agentId);
  const selection = useSyncExternalStore(subscribe, select, () => selector(undefined));
  useEffect(() => {
    rendered.current = { selection };
  }, [selection]);
  return selection;
}

/** Calls back with each event of a channel, once; renders nothing. */
export function useEvents(call: (event: PipelineEvent) => void, options: ChannelOptions & { channel?: string } = {}): void {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const wanted = key(options.fields);
  const newest = useRef(call);
  useEffect(() => {
    newest.current = call;
  });
  useEffect(() => {
    if (client === null || client.isClosed) return undefined;
    const view = open(client, channel, wanted);
    view.onEvent((event) => newest.current(event));
    return () => view.close();
  }, [client, channel, wanted]);
}

function whole(agent: Fields | undefined): Fields | undefined {
  return agent;
}

/** What React subscribes with: the component is a user of the channel for as long as it is on the page. */
function useSubscription(
  client: Client | null,
  channel: string,
  { fields }: ChannelOptions,
  agentId: string | null,
): (call: () => void) => () => void {
  const wanted = key(fields);
  return useCallback(
    (call) => {
      // Closed: by a provider that is about to hand over another one.
      if (client === null || client.isClosed) return () => {};
      const view = open(client, channel, wanted);
      if (agentId === null) view.subscribe(call);
      else view.subscribeAgent(agentId, call);
      return () => view.close();
    },
    [client, channel, wanted, agentId],
  );
}

/** Fields as a value: arrays are new with each render. */
function key(fields: readonly string[] | undefined): string | null {
  return fields === undefined ? null : JSON.stringify(fields);
}

function open(client: Client, channel: string, wanted: string | null): View {
  return client.channel(channel, wanted === null ? {} : { fields: JSON.parse(wanted) as string[] });
}
