import { LabIcon } from '@jupyterlab/ui-components';
import type { JobState } from './api/jobs';

/** Draw 16 × 16 strokes in the colour of the text around. */
function icon(name: string, strokes: string): LabIcon {
  return new LabIcon({
    name: `jupyter-ext:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round">${strokes}</svg>`
  });
}

const CIRCLE = '<circle cx="8" cy="8" r="6.25"/>';

const queued = icon('queued', `${CIRCLE}<path d="M8 4.5V8l2.5 1.5"/>`);
const starting = icon(
  'starting',
  '<circle cx="8" cy="8" r="6.25" stroke-dasharray="2.5 2.4"/><path d="M8 5.5v5M5.5 8h5"/>'
);
const stopping = icon(
  'stopping',
  `${CIRCLE}<rect x="5.75" y="5.75" width="4.5" height="4.5" fill="currentColor" stroke="none"/>`
);

/** One icon a state, so that no state is told by colour alone. */
export const STATE_ICONS: Readonly<Record<JobState, LabIcon>> = {
  queued,
  admitted: queued,
  starting,
  running: icon('running', `${CIRCLE}<path d="M6.75 5.25v5.5L11 8z" fill="currentColor" stroke="none"/>`),
  interrupted: icon('interrupted', `${CIRCLE}<path d="M6.5 5.75v4.5M9.5 5.75v4.5"/>`),
  cancelling: stopping,
  succeeded: icon('succeeded', `${CIRCLE}<path d="M5.25 8.25l2 2 3.5-4"/>`),
  failed: icon('failed', `${CIRCLE}<path d="M8 4.75V8.5M8 11v.1"/>`),
  cancelled: icon('cancelled', `${CIRCLE}<path d="M3.75 12.25l8.5-8.5"/>`)
};

export const backIcon = icon('back', '<path d="M10 3.5 5.5 8l4.5 4.5"/>');

/** The panel's own icon: tasks, one of them done. Its class takes the colours of the side bar. */
export const jobsIcon = new LabIcon({
  name: 'jupyter-ext:jobs',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161"><path d="M3 5.2 4.4 3.8 6 5.4 9.6 1.8 11 3.2 6 8.2z"/><path d="M13 4h8v2h-8z"/><path d="M4 10.5h4a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zm1 2v2h2v-2z"/><path d="M13 12.5h8v2h-8z"/><path d="M3 19.5h12v2H3z"/><path d="M17 19.5h4v2h-4z" opacity=".45"/></g></svg>'
});
