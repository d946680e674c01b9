/** Ends with 0 when the test cluster runs, else with 1. */
import { livingNode } from './layout.ts';

process.exitCode = (await livingNode()) ? 0 : 1;
