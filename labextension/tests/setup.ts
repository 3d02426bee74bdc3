import { cleanup } from '@testing-library/react';
import { afterEach, vi } from 'vitest';

// React warns unless it is told that updates are wrapped, which the testing library does.
vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
// jsdom lacks these, and JupyterLab's packages look at them when they are loaded.
vi.stubGlobal('DragEvent', class extends MouseEvent {});
vi.stubGlobal('requestIdleCallback', (callback: () => void) => setTimeout(callback, 0));
vi.stubGlobal('matchMedia', () => ({ matches: false }));
Object.defineProperty(navigator, 'clipboard', { value: {}, configurable: true });

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});
