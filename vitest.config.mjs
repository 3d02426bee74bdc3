import { readFile } from 'node:fs/promises';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [
    {
      // JupyterLab's packages import their icons as text.
      name: 'svg-as-text',
      enforce: 'pre',
      async load(id) {
        return id.endsWith('.svg') ? `export default ${JSON.stringify(await readFile(id, 'utf-8'))}` : null;
      }
    }
  ],
  test: {
    environment: 'jsdom',
    include: ['labextension/tests/**/*.spec.{ts,tsx}'],
    setupFiles: ['labextension/tests/setup.ts'],
    // JupyterLab's packages leave out the endings of files in their imports, which Node itself refuses.
    server: { deps: { inline: [/@jupyterlab/, /@jupyter\//, /@lumino/, /@microsoft/, /@rjsf/] } },
    // One environment for all files: loading JupyterLab's packages takes longer than the tests.
    isolate: false,
    fileParallelism: false,
    // A machine that does much else besides is slow, and no test is wrong for that.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Output that nobody expects is a failure.
    onConsoleLog: log => {
      throw new Error(`Unexpected output: ${log}`);
    }
  }
});
