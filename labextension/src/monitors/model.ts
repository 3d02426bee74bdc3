import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import type { IEventStream } from '../api/events';
import type { Monitor, MonitorEvent, MonitorsApi } from '../api/monitors';
import { allPages, asServerError, type ServerError } from '../api/request';
import { Following } from '../common/following';
import { WatchedNames } from './names';
import { alarmsFirst } from './order';

/** What the list shows, as one frozen value. */
export interface MonitorsState {
  /** The monitors that pass the search: those that fire first, then the newest. */
  readonly monitors: readonly Monitor[];
  readonly search: string;
  /** Names of the data sets and profiles that monitors watch, by their ids. */
  readonly names: ReadonlyMap<string, string>;
  /** Alarms of all monitors, whatever is searched for. */
  readonly firing: number;
  readonly pending: number;
  readonly loading: boolean;
  /** Why the last request failed; null after one that succeeded. */
  readonly error: ServerError | null;
  /** Whether the server has more monitors than a panel can hold. */
  readonly more: boolean;
}

/** A monitor that changed while we looked. */
export interface MonitorChange {
  readonly monitor: Monitor;
  readonly before: Monitor;
}

/** How often to ask while the event stream is down (milliseconds). */
const POLL_MS = 5_000;
/** Events come in bursts; the server is asked so long after the first (milliseconds). */
const COALESCE_MS = 100;
/** Over this many monitors touched at once, one list is cheaper than asking for each. */
const MANY = 5;
/** Those that fire are to be first, so all monitors are read; but not more pages of 500 than this. */
const MOST_PAGES = 4;

/**
 * The monitors of this server, kept true by events.
 *
 * It polls only while the event stream is down, and asks for everything anew when the stream comes back.
 */
export class MonitorsModel implements IDisposable {
  constructor(
    readonly api: MonitorsApi,
    readonly events: IEventStream<MonitorEvent>
  ) {
    this._names = new WatchedNames(api);
    this._following = new Following(
      events,
      () => this._synchronise(),
      event => this._onEvent(event),
      POLL_MS
    );
  }

  get state(): MonitorsState {
    return this._state;
  }

  /** The state has changed. */
  get changed(): ISignal<this, MonitorsState> {
    return this._changed;
  }

  /** A monitor is another one than before. */
  get monitorChanged(): ISignal<this, MonitorChange> {
    return this._monitorChanged;
  }

  /** A monitor was deleted, here or elsewhere. */
  get removed(): ISignal<this, Monitor> {
    return this._removed;
  }

  get isDisposed(): boolean {
    return this._following.isDisposed;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._following.dispose();
    clearTimeout(this._timer);
    Signal.clearData(this);
  }

  /** Load all monitors, and go on from there. */
  async start(): Promise<void> {
    await this._following.start();
  }

  /** A monitor that is loaded. */
  monitor(id: string): Monitor | undefined {
    return this._monitors.get(id);
  }

  /** Ask the server for all monitors, anew. */
  async refresh(): Promise<void> {
    await this._following.refresh();
  }

  /** Show the monitors with this in their name. */
  search(text: string): void {
    this._publish({ search: text });
  }

  /** Ask the server for one monitor. */
  async load(id: string): Promise<Monitor> {
    const asked = ++this._clock;
    try {
      const monitor = await this.api.get(id);
      this._put(monitor, asked);
      void this._loadNames();
      return monitor;
    } catch (error) {
      if (asServerError(error).status === 404) {
        this._drop(id);
      }
      throw error;
    } finally {
      this._publish();
    }
  }

  /** Judge nothing until it is resumed; the server's refusal is the caller's to show, as with all that follows. */
  async pause(id: string): Promise<void> {
    this._putActed(await this.api.setEnabled(id, false));
  }

  /** Let a paused monitor go on. */
  async resume(id: string): Promise<void> {
    this._putActed(await this.api.setEnabled(id, true));
  }

  /** Delete a monitor with its history. */
  async delete(id: string): Promise<void> {
    await this.api.delete(id);
    this._drop(id);
    this._publish();
  }

  /** Take the answer to an act of the user's: no answer to what was asked before is newer. */
  private _putActed(answer: Monitor): void {
    this._put(answer, ++this._clock);
    this._publish();
  }

  private async _synchronise(): Promise<void> {
    const asked = ++this._clock;
    this._listed = asked;
    this._publish({ loading: true });
    try {
      const { items: found, more } = await allPages(cursor => this.api.list(cursor), MOST_PAGES);
      if (asked !== this._listed) {
        return;
      }
      found.forEach(monitor => this._put(monitor, asked));
      const ids = new Set(found.map(({ id }) => id));
      [...this._monitors.keys()]
        .filter(id => !ids.has(id) && !more && (this._known.get(id) ?? 0) <= asked)
        .forEach(id => this._drop(id));
      this._publish({ loading: false, error: null, more });
      void this._loadNames();
    } catch (error) {
      if (asked === this._listed) {
        this._publish({ loading: false, error: asServerError(error) });
      }
      throw error;
    }
  }

  private async _loadNames(): Promise<void> {
    if (await this._names.learn(this._monitors.values())) {
      this._publish();
    }
  }

  /** Take a monitor from an answer that was asked for when the clock showed `asked`, unless we know better. */
  private _put(monitor: Monitor, asked: number): void {
    const { id } = monitor;
    if ((this._known.get(id) ?? 0) > asked) {
      return;
    }
    const before = this._monitors.get(id);
    this._known.set(id, asked);
    this._monitors.set(id, monitor);
    if (before) {
      this._monitorChanged.emit({ monitor, before });
    }
  }

  private _drop(id: string): void {
    const monitor = this._monitors.get(id);
    this._known.set(id, ++this._clock);
    this._strangers.add(id);
    if (monitor) {
      this._monitors.delete(id);
      this._removed.emit(monitor);
    }
  }

  private _onEvent({ monitor_id: id }: MonitorEvent): void {
    if (id === undefined || this._strangers.has(id)) {
      return;
    }
    // An event tells what fired, and not how the monitor is now: the server is asked.
    this._touched.add(id);
    this._timer ??= setTimeout(() => {
      this._timer = undefined;
      void this._askForTouched();
    }, COALESCE_MS);
  }

  private async _askForTouched(): Promise<void> {
    const ids = [...this._touched];
    this._touched.clear();
    if (ids.length > MANY) {
      await this.refresh();
      return;
    }
    await Promise.all(
      ids.map(id =>
        this.load(id).catch((error: unknown) => {
          // 404: deleted, or somebody else's. The rest shows with the next request of the whole list.
          if (asServerError(error).status !== 404) {
            this._publish({ error: asServerError(error) });
          }
        })
      )
    );
  }

  private _publish(change: Partial<MonitorsState> = {}): void {
    if (this.isDisposed) {
      return;
    }
    const state = { ...this._state, ...change };
    const all = [...this._monitors.values()];
    const text = state.search.toLowerCase();
    const sum = (count: (monitor: Monitor) => number): number => all.reduce((total, one) => total + count(one), 0);
    this._state = {
      ...state,
      monitors: all.filter(({ name }) => name.toLowerCase().includes(text)).sort(alarmsFirst),
      names: this._names.known,
      firing: sum(({ firing }) => firing),
      pending: sum(({ pending }) => pending)
    };
    this._changed.emit(this._state);
  }

  private readonly _monitors = new Map<string, Monitor>();
  private readonly _names: WatchedNames;
  private readonly _touched = new Set<string>();
  /** What is deleted, or not ours to see. */
  private readonly _strangers = new Set<string>();
  /** Counts requests, and of which monitor the newest answer was asked for when. */
  private readonly _known = new Map<string, number>();
  private _clock = 0;
  /** When the whole list was asked for last: only that answer is taken. */
  private _listed = 0;
  private readonly _following: Following<MonitorEvent>;
  private readonly _changed = new Signal<this, MonitorsState>(this);
  private readonly _monitorChanged = new Signal<this, MonitorChange>(this);
  private readonly _removed = new Signal<this, Monitor>(this);
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _state: MonitorsState = {
    monitors: [],
    search: '',
    names: new Map(),
    firing: 0,
    pending: 0,
    loading: true,
    error: null,
    more: false
  };
}
