import js from '@eslint/js';
import jupyter from '@jupyter/eslint-plugin';
import reactHooks from 'eslint-plugin-react-hooks';
import { defineConfig } from 'eslint/config';
import typescript from 'typescript-eslint';

export default defineConfig(
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  {
    files: ['labextension/**/*.{ts,tsx}'],
    extends: [typescript.configs.strictTypeChecked, reactHooks.configs['recommended-latest']],
    languageOptions: {
      parserOptions: {
        project: ['tsconfig.json', 'labextension/tests/tsconfig.json'],
        tsconfigRootDir: import.meta.dirname
      }
    },
    rules: {
      eqeqeq: 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      // The JupyterLab way: a token beside the ids of its commands, `interface IRequest` beside plain types.
      '@typescript-eslint/no-namespace': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      // Signals bind their slots themselves; `@jupyter/require-signal-this-arg` sees that they are told to what.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }
      ]
    }
  },
  {
    files: ['labextension/src/**/*.{ts,tsx}'],
    plugins: { '@jupyter': jupyter },
    rules: {
      ...Object.fromEntries(Object.keys(jupyter.rules).map(rule => [`@jupyter/${rule}`, 'error'])),
      // A side panel is restored with the layout: all of it is needed at the start.
      '@jupyter/prefer-lazy-imports': 'off'
    }
  },
  {
    files: ['labextension/tests/**'],
    rules: {
      // A fake answers at once where the real one waits, and tests need no contract with the outside.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/explicit-module-boundary-types': 'off'
    }
  }
);
