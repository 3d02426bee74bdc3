import type { ServerConnection } from '@jupyterlab/services';
import { type Page, request } from './request';

/** How a measured value is held against its threshold: it is a breach when `value comparator threshold`. */
export type Comparator = '==' | '!=' | '>' | '<' | '>=' | '<=';

/** The checks, as in `jupyter_ext.monitoring.values`. */
export interface DriftCheck {
  readonly kind: 'drift';
  readonly name: string;
  readonly alpha: number;
  readonly correction: 'bh' | 'by' | 'bonferroni' | 'none';
  readonly methods: string | readonly string[] | Readonly<Record<string, string>> | null;
  readonly features: readonly string[] | null;
  /** Whether `alpha` is for all windows together. */
  readonly anytime: boolean;
}

export interface QualityCheck {
  readonly kind: 'quality';
  readonly name: string;
  readonly ranges: Readonly<Record<string, readonly [number | null, number | null]>>;
  readonly categories: Readonly<Record<string, readonly string[]>>;
  readonly missing: Readonly<Record<string, number>>;
  /** Whether what is not named is taken from the reference. */
  readonly learned: boolean;
  readonly share: number;
}

export interface OutlierCheck {
  readonly kind: 'outliers';
  readonly name: string;
  readonly level: number;
  readonly alpha: number;
  readonly features: readonly string[] | null;
  readonly anytime: boolean;
}

export interface MetricCheck {
  readonly kind: 'metric';
  readonly name: string;
  readonly model: string;
  readonly over: 'mean' | 'median' | 'min' | 'max' | 'sum';
  readonly comparator: Comparator;
  readonly threshold: number;
}

export type Check = DriftCheck | QualityCheck | OutlierCheck | MetricCheck;

/** Whom a monitor tells; secrets are never shown. */
export type Route =
  | { readonly kind: 'jupyter' }
  | { readonly kind: 'webhook'; readonly url: string }
  | { readonly kind: 'alertmanager'; readonly url: string; readonly labels: Readonly<Record<string, string>> };

export interface Monitor {
  readonly id: string;
  readonly name: string;
  readonly model: string | null;
  readonly dataset_id: string | null;
  readonly profile_id: string | null;
  readonly checks: readonly Check[];
  readonly routes: readonly Route[];
  readonly timestamp: string | null;
  readonly period: string | null;
  readonly min_rows: number;
  readonly fire_after: number;
  readonly resolve_after: number;
  readonly description: string;
  /** Whether it judges; otherwise it is paused. */
  readonly enabled: boolean;
  /** How many windows were judged since the reference is what it is. */
  readonly evaluations: number;
  /** When the last of them ended. */
  readonly last_end: string | null;
  readonly pending: number;
  readonly firing: number;
  readonly created_at: string;
}

/** What a monitor's facts come to. */
export type MonitorState = 'firing' | 'pending' | 'quiet' | 'paused' | 'new';

export function stateOf(monitor: Monitor): MonitorState {
  if (!monitor.enabled) {
    return 'paused';
  }
  return monitor.firing ? 'firing' : monitor.pending ? 'pending' : monitor.last_end ? 'quiet' : 'new';
}

/** A rule: a check, of a feature or (empty) of all rows, and for quality what is wrong with it. */
export interface Rule {
  readonly check: string;
  readonly feature: string;
  readonly aspect: '' | 'outside' | 'unseen' | 'missing';
}

export interface Judged extends Rule {
  /** A q-value, a p-value, a share of rows or a number; null where nothing could be said. */
  readonly value: number | null;
  readonly statistic: number | null;
  readonly note: string;
  readonly comparator: Comparator;
  readonly threshold: number;
  readonly breached: boolean;
}

/** What was measured of one rule in one window. */
export interface Measurement extends Judged {
  readonly evaluation_id: string;
  readonly start: string | null;
  readonly end: string;
}

export interface Alarm extends Rule {
  readonly id: string;
  readonly monitor_id: string;
  readonly state: 'pending' | 'firing' | 'resolved';
  /** Windows in a row that broke the rule, and those since that did not. */
  readonly breaches: number;
  readonly calm: number;
  readonly message: string;
  readonly began_at: string;
  readonly fired_at: string | null;
  readonly resolved_at: string | null;
}

/** A judged window with the rules that it broke. */
export interface Evaluation {
  readonly id: string;
  readonly start: string | null;
  readonly end: string;
  readonly n_rows: number;
  /** The how manieth that counts; null where it changed no alarm, and `skipped` says why. */
  readonly number: number | null;
  readonly breached: number;
  readonly skipped: string;
  readonly judged: readonly Judged[];
  /** The alarms that it moved, as they stand now. */
  readonly fired: readonly Alarm[];
  readonly resolved: readonly Alarm[];
}

/** A message about alarms to one route. */
export interface Delivery {
  readonly id: string;
  readonly event: 'fired' | 'resolved';
  readonly route: Route;
  readonly alarm_ids: readonly string[];
  readonly state: 'waiting' | 'delivered' | 'repeating' | 'failed';
  readonly attempts: number;
  readonly status: number | null;
  readonly error: string;
  readonly next_at: string | null;
  readonly created_at: string;
}

/** A stored profile, as far as the panel shows it. */
export interface Profile {
  readonly id: string;
  readonly name: string;
  readonly n_rows: number;
  readonly created_at: string;
}

/** A version of a data set, as far as the panel shows it. */
export interface Dataset {
  readonly id: string;
  readonly name: string;
  readonly version: number;
}

/** What the server emits about monitors (`server/events/monitor.yaml`); only judged windows have alarms. */
export interface MonitorEvent {
  readonly what: 'report' | 'evaluation' | 'monitor';
  readonly name: string;
  readonly model: string | null;
  readonly owner: string;
  readonly monitor_id?: string;
  /** What the alarms that fired say, and those that were resolved. */
  readonly fired?: string[];
  readonly resolved?: string[];
  /** Whether the monitor's alarms are told here. */
  readonly notify?: boolean;
}

/** The routes of monitors. */
export interface MonitorsApi {
  list(cursor?: string): Promise<Page<Monitor>>;
  get(id: string): Promise<Monitor>;
  setEnabled(id: string, enabled: boolean): Promise<Monitor>;
  delete(id: string): Promise<void>;
  alarms(id: string, state: 'active' | 'resolved', limit: number): Promise<Page<Alarm>>;
  windows(id: string, limit: number): Promise<Page<Evaluation>>;
  /** What was measured in the last windows: of all rules, or of those of a check and a feature. */
  measurements(id: string, windows: number, of?: Pick<Rule, 'check' | 'feature'>): Promise<Page<Measurement>>;
  deliveries(id: string, limit: number): Promise<Page<Delivery>>;
  profile(id: string): Promise<Profile>;
  profiles(): Promise<Page<Profile>>;
  datasets(): Promise<Page<Dataset>>;
}

/** The most that a page may have. */
const PAGE = 500;

/** The routes of monitors on a real server. What the panel asks by itself is no activity of the user's. */
export function monitorsApi(settings: ServerConnection.ISettings): MonitorsApi {
  const read = <T>(path: readonly string[], query: object = {}): Promise<T> =>
    request<T>(settings, path, { query: { ...query }, activity: false });
  return {
    list: cursor => read(['monitors'], { limit: PAGE, cursor }),
    get: id => read(['monitors', id]),
    setEnabled: (id, enabled) => request(settings, ['monitors', id], { method: 'PATCH', body: { enabled } }),
    delete: id => request(settings, ['monitors', id], { method: 'DELETE' }),
    alarms: (id, state, limit) => read(['monitors', 'alarms'], { monitor_id: id, state, limit }),
    windows: (id, limit) => read(['monitors', id, 'evaluations'], { limit }),
    measurements: (id, limit, of) =>
      read(['monitors', id, 'measurements'], { limit, check: of?.check, feature: of?.feature }),
    deliveries: (id, limit) => read(['monitors', id, 'deliveries'], { limit }),
    profile: id => read(['monitors', 'profiles', id]),
    profiles: () => read(['monitors', 'profiles'], { limit: PAGE }),
    datasets: () => read(['datasets'], { limit: PAGE })
  };
}
