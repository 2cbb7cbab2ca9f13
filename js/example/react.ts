/** What the example's React page imports, in one file: React, its renderer and the hooks of this package. */

export * from "../src/react.js";
export { createElement, memo, useEffect, useLayoutEffect, useRef, useState } from "react";
export { createRoot } from "react-dom/client";
