import { LabIcon } from '@jupyterlab/ui-components';
import type { ClusterState, NodeState } from './api/clusters';
import type { JobState } from './api/jobs';
import type { Alarm, Delivery, MonitorState } from './api/monitors';

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
const running = icon('running', `${CIRCLE}<path d="M6.75 5.25v5.5L11 8z" fill="currentColor" stroke="none"/>`);
const stopping = icon(
  'stopping',
  `${CIRCLE}<rect x="5.75" y="5.75" width="4.5" height="4.5" fill="currentColor" stroke="none"/>`
);

/** One icon a state, so that no state is told by colour alone. */
export const STATE_ICONS: Readonly<Record<JobState, LabIcon>> = {
  queued,
  admitted: queued,
  starting,
  running,
  interrupted: icon('interrupted', '<path d="M13 4v3h-3M13 7A5.5 5.5 0 1 0 13.25 9.5"/>'),
  cancelling: stopping,
  paused: icon('paused', `${CIRCLE}<path d="M6.5 5.75v4.5M9.5 5.75v4.5"/>`),
  succeeded: icon('succeeded', `${CIRCLE}<path d="M5.25 8.25l2 2 3.5-4"/>`),
  failed: icon('failed', `${CIRCLE}<path d="M8 4.75V8.5M8 11v.1"/>`),
  cancelled: icon('cancelled', `${CIRCLE}<path d="M3.75 12.25l8.5-8.5"/>`)
};

/** The same for clusters and their nodes. */
export const CLUSTER_ICONS: Readonly<Record<ClusterState | NodeState, LabIcon>> = {
  stopped: icon('stopped', `${CIRCLE}<rect x="5.75" y="5.75" width="4.5" height="4.5"/>`),
  starting,
  running,
  idle: icon('idle', `${CIRCLE}<path d="M5.5 8h5"/>`),
  unreachable: icon(
    'unreachable',
    `${CIRCLE}<path d="M6.25 6.5a1.75 1.75 0 1 1 2.4 1.6c-.4.2-.65.5-.65.9M8 11.25v.1"/>`
  ),
  stopping
};

const firing = icon('firing', '<path d="M8 2.25 14.5 13.5h-13zM8 6.5v3.25M8 11.6v.1"/>');
const pending = icon('pending', '<path d="M8 2.25 14.5 13.5h-13z" stroke-dasharray="2.5 2.2"/><path d="M8 6.5v5"/>');

/** The same for monitors, their alarms, and the messages about these. */
export const MONITOR_ICONS: Readonly<Record<MonitorState | Alarm['state'] | Delivery['state'], LabIcon>> = {
  firing,
  pending,
  quiet: STATE_ICONS.succeeded,
  paused: STATE_ICONS.paused,
  new: CLUSTER_ICONS.idle,
  resolved: STATE_ICONS.succeeded,
  waiting: queued,
  delivered: STATE_ICONS.succeeded,
  repeating: STATE_ICONS.interrupted,
  failed: STATE_ICONS.failed
};

export const pauseIcon = icon('pause', '<path d="M5.5 3.5v9M10.5 3.5v9" stroke-width="2.5"/>');
export const resumeIcon = icon('resume', '<path d="M5 3.25v9.5L12.5 8z" fill="currentColor"/>');
export const previousIcon = icon('previous', '<path d="M3.5 10 8 5.5l4.5 4.5"/>');
export const nextIcon = icon('next', '<path d="M3.5 6 8 10.5 12.5 6"/>');
export const backIcon = icon('back', '<path d="M10 3.5 5.5 8l4.5 4.5"/>');

/** The panel's own icon: tasks, one of them done. Its class takes the colours of the side bar. */
export const jobsIcon = new LabIcon({
  name: 'jupyter-ext:jobs',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161"><path d="M3 5.2 4.4 3.8 6 5.4 9.6 1.8 11 3.2 6 8.2z"/><path d="M13 4h8v2h-8z"/><path d="M4 10.5h4a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zm1 2v2h2v-2z"/><path d="M13 12.5h8v2h-8z"/><path d="M3 19.5h12v2H3z"/><path d="M17 19.5h4v2h-4z" opacity=".45"/></g></svg>'
});

/** The icon of the panel of monitors: a line that leaves its band. */
export const monitorsIcon = new LabIcon({
  name: 'jupyter-ext:monitors',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161"><path d="M2 4h20v1.8H2zM2 18.2h20V20H2z" opacity=".45"/><path d="M2 13.2v-2h4.3l2.2-4.4a1 1 0 0 1 1.85.15l3.4 10.2 1.9-5.2a1 1 0 0 1 .95-.75H22v2h-4.7l-2.75 7.4a1 1 0 0 1-1.9-.05L9.2 10.1l-1.35 2.55a1 1 0 0 1-.9.55z"/></g></svg>'
});
