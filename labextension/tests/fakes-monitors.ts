import type {
  Alarm,
  Delivery,
  Evaluation,
  Measurement,
  Monitor,
  MonitorEvent,
  MonitorsApi,
  Rule
} from '../src/api/monitors';
import { ServerError } from '../src/api/request';

/** A monitor, the `index`-th oldest, that has judged some windows and is quiet. */
export function monitor(index: number, change: Partial<Monitor> = {}): Monitor {
  return {
    id: `monitor-${String(index).padStart(4, '0')}`,
    name: `daily ${index}`,
    model: 'churn/3',
    dataset_id: null,
    profile_id: 'profile-1',
    checks: [
      { kind: 'drift', name: 'drift', alpha: 0.05, correction: 'bh', methods: null, features: null, anytime: true }
    ],
    routes: [{ kind: 'jupyter' }],
    timestamp: null,
    period: null,
    min_rows: 30,
    fire_after: 2,
    resolve_after: 2,
    description: '',
    enabled: true,
    evaluations: 3,
    last_end: '2026-01-03T00:00:00Z',
    pending: 0,
    firing: 0,
    created_at: '2026-01-01T00:00:00Z',
    ...change
  };
}

/** A firing alarm of drift. */
export function alarm(index: number, change: Partial<Alarm> = {}): Alarm {
  return {
    id: `alarm-${index}`,
    monitor_id: 'monitor-0001',
    check: 'drift',
    feature: 'age',
    aspect: '',
    state: 'firing',
    breaches: 2,
    calm: 0,
    message: "'age' drifted: distance 0.3, q = 1e-09 (at most 0.025 is an alarm).",
    began_at: '2026-01-02T00:00:00Z',
    fired_at: '2026-01-03T00:00:00Z',
    resolved_at: null,
    ...change
  };
}

/** What was measured of the drift of age on the `day`-th of January. */
export function measured(day: number, change: Partial<Measurement> = {}): Measurement {
  const at = (number: number): string => new Date(Date.UTC(2026, 0, number)).toISOString();
  return {
    evaluation_id: `evaluation-${day}`,
    start: at(day),
    end: at(day + 1),
    check: 'drift',
    feature: 'age',
    aspect: '',
    value: 0.1,
    statistic: 0.2,
    note: '',
    comparator: '<=',
    threshold: 0.01,
    breached: false,
    ...change
  };
}

/** The window of the `day`-th of January. */
export function judgedWindow(day: number, change: Partial<Evaluation> = {}): Evaluation {
  const { start, end, evaluation_id: id } = measured(day);
  const moved = { fired: [], resolved: [] };
  return { id, start, end, n_rows: 1200, number: day, breached: 0, skipped: '', judged: [], ...moved, ...change };
}

/** A message about an alarm that fired. */
export function delivery(index: number, change: Partial<Delivery> = {}): Delivery {
  return {
    id: `delivery-${index}`,
    event: 'fired',
    route: { kind: 'webhook', url: 'https://chat.example/hook' },
    alarm_ids: ['alarm-1'],
    state: 'delivered',
    attempts: 1,
    status: 200,
    error: '',
    next_at: null,
    created_at: '2026-01-03T00:00:00Z',
    ...change
  };
}

/** The event that the server emits when a monitor has judged a window. */
export function judged(of: Monitor, change: Partial<MonitorEvent> = {}): MonitorEvent {
  const { id, name, model } = of;
  return {
    what: 'evaluation',
    name,
    model,
    owner: 'ann',
    monitor_id: id,
    fired: [],
    resolved: [],
    notify: true,
    ...change
  };
}

/** The monitors of a server in memory; what is known of one is the same for all. */
export class FakeMonitors implements MonitorsApi {
  readonly monitors = new Map<string, Monitor>();
  readonly calls: string[] = [];
  alarmsOf: Alarm[] = [];
  windowsOf: Evaluation[] = [];
  measuredOf: Measurement[] = [];
  deliveriesOf: Delivery[] = [];
  /** So many monitors are a page. */
  page = 500;
  failure: ServerError | null = null;

  constructor(...monitors: Monitor[]) {
    monitors.forEach(item => this.monitors.set(item.id, item));
  }

  set(id: string, change: Partial<Monitor>): Monitor {
    const changed = { ...this._find(id), ...change };
    this.monitors.set(id, changed);
    return changed;
  }

  async list(cursor?: string) {
    this._called('list');
    const matching = [...this.monitors.values()]
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .filter(({ id }) => !cursor || id < cursor);
    const items = matching.slice(0, this.page);
    return { items, next_cursor: matching.length > this.page ? items.at(-1)!.id : null };
  }

  async get(id: string) {
    this._called(`get ${id}`);
    return this._find(id);
  }

  async setEnabled(id: string, enabled: boolean) {
    this._called(`${enabled ? 'resume' : 'pause'} ${id}`);
    return this.set(id, { enabled });
  }

  async delete(id: string) {
    this._called(`delete ${id}`);
    this.monitors.delete(id);
  }

  async alarms(_id: string, state: 'active' | 'resolved') {
    this._called(`alarms ${state}`);
    return {
      items: this.alarmsOf.filter(one => (one.state === 'resolved') === (state === 'resolved')),
      next_cursor: null
    };
  }

  async windows() {
    this._called('windows');
    return { items: this.windowsOf, next_cursor: null };
  }

  async measurements(_id: string, windows: number, of?: Pick<Rule, 'check' | 'feature'>) {
    this._called(of ? `timeline ${of.check} ${of.feature}` : 'measurements');
    const newest = this.measuredOf[0]?.evaluation_id;
    const items = this.measuredOf.filter(one =>
      of ? one.check === of.check && one.feature === of.feature : windows > 1 || one.evaluation_id === newest
    );
    return { items, next_cursor: null };
  }

  async deliveries() {
    this._called('deliveries');
    return { items: this.deliveriesOf, next_cursor: null };
  }

  async profile(id: string) {
    this._called(`profile ${id}`);
    return { id, name: 'training', n_rows: 5000, created_at: '2026-01-01T00:00:00Z' };
  }

  async profiles() {
    this._called('profiles');
    return { items: [await this.profile('profile-1')], next_cursor: null };
  }

  async datasets() {
    this._called('datasets');
    return { items: [{ id: 'dataset-1', name: 'people', version: 2 }], next_cursor: null };
  }

  count(prefix: string): number {
    return this.calls.filter(call => call.startsWith(prefix)).length;
  }

  private _called(call: string): void {
    this.calls.push(call);
    if (this.failure) {
      throw this.failure;
    }
  }

  private _find(id: string): Monitor {
    const found = this.monitors.get(id);
    if (!found) {
      throw new ServerError(`There is no monitor '${id}'.`, 404, 'not_found');
    }
    return found;
  }
}
