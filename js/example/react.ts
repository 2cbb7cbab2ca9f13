/** React and its renderer in one module: what the example's page on React and the hooks of this package import. */

export {
  createContext,
  createElement,
  memo,
  useCallback,
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
export { createRoot } from "react-dom/client";
