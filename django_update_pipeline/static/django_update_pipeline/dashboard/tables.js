/** Who is connected, and the parts in the order of flow. */

import { make, part, setText } from "./dom.js";
import { field, list, number, text } from "./fields.js";
import { count, duration, some } from "./words.js";

const BUILT_IN = "django_update_pipeline.plugins.defaults";

/** So many connections are shown; all others are counted. */
export const CONNECTIONS_SHOWN = 100;

export function showConnections(data) {
  const rows = list(data, "connections");
  const total = number(data, "count");
  part("connections-rows").replaceChildren(...rows.map(connectionRow));
  part("connections").hidden = rows.length === 0;
  part("no-connections").hidden = rows.length > 0;
  setText(part("connections-count"), rows.length < total ? `the ${count(rows.length)} oldest of ${count(total)}` : count(total));
}

function connectionRow(connection) {
  const id = text(connection, "connection_id");
  const channels = list(connection, "channels").map(String);
  const more = number(connection, "channel_count", channels.length) - channels.length;
  const behind = number(connection, "behind");
  return make("tr", {},
    make("td", { title: id }, make("code", { text: id.length > 14 ? `${id.slice(0, 12)}…` : id })),
    make("td", {}, make("span", { class: "tag", text: text(connection, "kind", "classic") })),
    make("td", { class: "wide soft", text: channels.join(", ") + (more > 0 ? ` and ${count(more)} more` : "") }),
    make("td", { class: "number", text: behind > 0 ? count(behind) : "–" }),
    make("td", { class: "number", text: duration(number(connection, "connected_s")) }));
}

/** The parts as `get_plugins` lists them, in the order of flow; who provides each, and which were switched off. */
export function showPlugins(data) {
  const parts = list(data, "parts");
  const key = JSON.stringify(parts);
  if (part("plugins").dataset.key === key) return;
  part("plugins").dataset.key = key;
  part("plugins").replaceChildren(...parts.map(partItem));
}

function partItem(one) {
  const isOff = field(one, "is_off") === true;
  const failures = number(one, "failures");
  const plugin = text(one, "plugin");
  const item = make("li", { class: isOff ? "is-off" : null, title: text(one, "class") },
    make("span", { class: "kind", text: text(one, "kind") }),
    text(one, "name"),
    make("span", { class: "by", text: plugin === BUILT_IN ? "built in" : plugin }));
  if (isOff) item.append(make("span", { class: "off", text: `switched off: ${text(one, "off_because")}` }));
  else if (failures > 0) item.append(make("span", { class: "off", text: some(failures, "failure"), title: text(one, "last_error") }));
  return item;
}
