import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import type { Alarm, Delivery, Evaluation, Measurement, Monitor, MonitorEvent, Profile, Rule } from '../api/monitors';
import { asServerError, type ServerError } from '../api/request';
import type { MonitorsModel } from './model';
import { ruleKey, rulesOf } from './order';

export interface DetailState {
  readonly monitor: Monitor | null;
  /** Names of what monitors watch, by their ids. */
  readonly names: ReadonlyMap<string, string>;
  /** What it compares with; null before it is known, and where there is no profile. */
  readonly reference: Profile | null;
  readonly active: readonly Alarm[];
  /** The last alarms that were resolved. */
  readonly past: readonly Alarm[];
  /** The last windows, newest first. */
  readonly windows: readonly Evaluation[];
  readonly deliveries: readonly Delivery[];
  /** What there are timelines of. */
  readonly rules: readonly Rule[];
  readonly rule: Rule | null;
  /** What was measured of that rule in the last windows, newest first; null while it is asked for. */
  readonly measured: readonly Measurement[] | null;
  /** Whether the server has told all this once. */
  readonly loaded: boolean;
  readonly error: ServerError | null;
}

/** Changes come in bursts; the server is asked at most this often (milliseconds). */
const COALESCE_MS = 100;
/** How often to ask while the event stream is down (milliseconds). */
const POLL_MS = 10_000;
/** No event tells what became of a message: it is looked at this long after its moment, then ever more seldom. */
const DELIVERED_MS = 2_000;
const SELDOM_MS = 3_600_000;
const ACTIVE_ALARMS = 500;
const PAST_ALARMS = 50;
const WINDOWS = 30;
const DELIVERIES = 30;
/** Windows of a timeline. */
export const TIMELINE = 100;

/** One monitor with all that is known of it, kept true by events. */
export class MonitorDetail implements IDisposable {
  constructor(
    readonly id: string,
    private readonly _monitors: MonitorsModel
  ) {
    this._state = { ...NOTHING, monitor: _monitors.monitor(id) ?? null, names: _monitors.state.names };
    _monitors.changed.connect(this._onMonitors, this);
    _monitors.events.received.connect(this._onEvent, this);
    _monitors.events.connectedChanged.connect(this._onConnected, this);
    this._pollUnless(_monitors.events.connected);
    void this.refresh();
  }

  get state(): DetailState {
    return this._state;
  }

  get changed(): ISignal<this, DetailState> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    clearTimeout(this._timer);
    clearTimeout(this._deliveryTimer);
    clearInterval(this._polling);
    this._monitors.changed.disconnect(this._onMonitors, this);
    this._monitors.events.received.disconnect(this._onEvent, this);
    this._monitors.events.connectedChanged.disconnect(this._onConnected, this);
    Signal.clearData(this);
  }

  /** Ask the server for everything. */
  async refresh(): Promise<void> {
    const { api } = this._monitors;
    const asked = ++this._asked;
    try {
      const [monitor, active, past, windows, deliveries, newest] = await Promise.all([
        this._monitors.load(this.id),
        api.alarms(this.id, 'active', ACTIVE_ALARMS),
        api.alarms(this.id, 'resolved', PAST_ALARMS),
        api.windows(this.id, WINDOWS),
        api.deliveries(this.id, DELIVERIES),
        api.measurements(this.id, 1)
      ]);
      if (asked !== this._asked || this._disposed) {
        return;
      }
      const rules = rulesOf([...active.items, ...past.items], newest.items);
      this._set({
        monitor,
        active: active.items,
        past: past.items,
        windows: windows.items,
        deliveries: deliveries.items,
        rules,
        loaded: true,
        error: null
      });
      this._lookAtDeliveriesLater();
      const { rule } = this._state;
      const kept = rule && rules.find(other => ruleKey(other) === ruleKey(rule));
      await Promise.all([this._loadTimeline(kept ?? rules[0] ?? null), this._loadReference(monitor)]);
    } catch (error) {
      if (asked === this._asked) {
        this._set({ error: asServerError(error) });
      }
    }
  }

  /** Show the timeline of another rule. */
  async select(rule: Rule): Promise<void> {
    await this._loadTimeline(rule).catch((error: unknown) => this._set({ error: asServerError(error) }));
  }

  private async _loadTimeline(rule: Rule | null): Promise<void> {
    const same = rule && this._state.rule && ruleKey(rule) === ruleKey(this._state.rule);
    this._set({ rule, measured: same ? this._state.measured : rule && null });
    if (!rule) {
      this._set({ measured: [] });
      return;
    }
    const asked = ++this._timelineAsked;
    const { items } = await this._monitors.api.measurements(this.id, TIMELINE, rule);
    if (asked === this._timelineAsked) {
      this._set({ measured: items.filter(one => ruleKey(one) === ruleKey(rule)) });
    }
  }

  private async _loadReference({ profile_id }: Monitor): Promise<void> {
    if (profile_id !== (this._state.reference?.id ?? null)) {
      // A reference that cannot be named is no reason to show nothing.
      const reference = profile_id ? await this._monitors.api.profile(profile_id).catch(() => null) : null;
      this._set({ reference });
    }
  }

  private _lookAtDeliveriesLater(): void {
    clearTimeout(this._deliveryTimer);
    const waiting = this._state.deliveries.filter(({ state }) => state === 'waiting');
    if (!waiting.length || this._disposed) {
      this._looks = 0;
      return;
    }
    const next = Math.min(...waiting.map(({ next_at }) => (next_at ? Date.parse(next_at) : 0)));
    // The clock of the server may be another one: what is late is asked for ever more seldom.
    const delay = Math.max(0, next - Date.now()) + Math.min(DELIVERED_MS * 2 ** this._looks++, SELDOM_MS);
    this._deliveryTimer = setTimeout(() => void this._loadDeliveries(), delay);
  }

  private async _loadDeliveries(): Promise<void> {
    try {
      const { items } = await this._monitors.api.deliveries(this.id, DELIVERIES);
      this._set({ deliveries: items });
    } catch {
      // What is shown is a little old then; the next look or event asks again.
    }
    this._lookAtDeliveriesLater();
  }

  private _onMonitors(): void {
    const { names } = this._monitors.state;
    const monitor = this._monitors.monitor(this.id) ?? this._state.monitor;
    if (monitor !== this._state.monitor || names !== this._state.names) {
      this._set({ monitor, names });
    }
  }

  private _onEvent(_: unknown, event: MonitorEvent): void {
    if (event.monitor_id === this.id) {
      this._looks = 0;
      this._refreshSoon();
    }
  }

  private _onConnected(_: unknown, connected: boolean): void {
    this._pollUnless(connected);
    if (connected) {
      this._refreshSoon();
    }
  }

  private _pollUnless(connected: boolean): void {
    clearInterval(this._polling);
    if (!connected) {
      this._polling = setInterval(() => void this.refresh(), POLL_MS);
    }
  }

  private _refreshSoon(): void {
    this._timer ??= setTimeout(() => {
      this._timer = undefined;
      void this.refresh();
    }, COALESCE_MS);
  }

  private _set(change: Partial<DetailState>): void {
    if (!this._disposed) {
      this._state = { ...this._state, ...change };
      this._changed.emit(this._state);
    }
  }

  private readonly _changed = new Signal<this, DetailState>(this);
  private _disposed = false;
  /** Count requests: only the newest one's answer is taken. */
  private _asked = 0;
  private _timelineAsked = 0;
  private _looks = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _deliveryTimer: ReturnType<typeof setTimeout> | undefined;
  private _polling: ReturnType<typeof setInterval> | undefined;
  private _state: DetailState;
}

const NOTHING: DetailState = {
  monitor: null,
  names: new Map(),
  reference: null,
  active: [],
  past: [],
  windows: [],
  deliveries: [],
  rules: [],
  rule: null,
  measured: null,
  loaded: false,
  error: null
};
