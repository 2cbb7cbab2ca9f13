// Runs an admin program (sample.mjs, which prints what it gets): health and metrics arrive.
import { report, until } from './surroundings.mjs';

const printed = [];
console.log = (...words) => printed.push(words);
await import('./sample.mjs');
await until('three answers', () => printed.length >= 3);
report({ printed });
