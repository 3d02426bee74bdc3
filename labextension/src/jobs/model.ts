import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';
import type { IEventStream } from '../api/events';
import { isFinal, type Job, type JobsApi, type JobState, type Page } from '../api/jobs';
import { asServerError, type ServerError } from '../api/request';
import { applyEvent, type JobEvent, mergeAnswer, newestFirst } from './order';

export type StateFilter = 'all' | 'live' | 'finished';

/** What the list shows, as one frozen value. */
export interface JobsState {
  /** The loaded jobs that pass the filter, newest first. */
  readonly jobs: readonly Job[];
  readonly filter: StateFilter;
  readonly name: string;
  readonly loading: boolean;
  /** Why the last request failed; null after one that succeeded. */
  readonly error: ServerError | null;
  /** Whether the server has older jobs than those loaded. */
  readonly hasMore: boolean;
}

/** A job that moved to another state while we looked. */
export interface StateChange {
  readonly job: Job;
  readonly before: JobState;
}

const PAGE = 50;
const LARGEST_PAGE = 500;
/** Events come in bursts; the view is told at most this often (milliseconds). */
const COALESCE_MS = 50;
/** Over this many jobs touched at once, one list is cheaper than asking for each. */
const MANY = 5;
/** A filter that the server cannot apply may need some pages before it shows anything new. */
const PAGES_AT_ONCE = 5;

/**
 * The list of jobs, kept true by events.
 *
 * It polls only while the event stream is down, and asks for everything anew when the stream comes back.
 */
export class JobsModel implements IDisposable {
  constructor(
    readonly api: JobsApi,
    readonly events: IEventStream<JobEvent>
  ) {
    events.received.connect(this._onEvent, this);
    events.connectedChanged.connect(this._onConnected, this);
    this._poll = new Poll({
      auto: false,
      factory: () => this._synchronise(),
      frequency: { interval: 5_000, backoff: true, max: 60_000 },
      standby: 'when-hidden'
    });
  }

  get state(): JobsState {
    return this._state;
  }

  /** The state has changed. */
  get changed(): ISignal<this, JobsState> {
    return this._changed;
  }

  /** A job has moved to another state. */
  get jobMoved(): ISignal<this, StateChange> {
    return this._jobMoved;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._poll.dispose();
    clearTimeout(this._publishTimer);
    this.events.received.disconnect(this._onEvent, this);
    this.events.connectedChanged.disconnect(this._onConnected, this);
    Signal.clearData(this);
  }

  /** Load the first page, and go on from there. */
  async start(): Promise<void> {
    await (this.events.connected ? this.refresh() : this._poll.start());
  }

  job(id: string): Job | undefined {
    return this._jobs.get(id);
  }

  /** Ask the server for what is loaded, anew. */
  async refresh(): Promise<void> {
    // Whoever asks to refresh reads the outcome in `state.error`.
    await this._synchronise().catch(() => undefined);
  }

  /** Show other jobs. */
  async setFilter(filter: StateFilter, name: string): Promise<void> {
    if (filter === this._filter && name === this._name) {
      return;
    }
    this._filter = filter;
    this._name = name;
    await this.refresh();
  }

  /** Load older jobs, until some pass the filter or there are no more. */
  async loadMore(): Promise<void> {
    if (this._cursor && !this._loading) {
      const asked = this._asked;
      await this._load(() => this._readOn(asked, this._visible().length + 1)).catch(() => undefined);
    }
  }

  /** Cancel a job; the server's refusal is the caller's to show. */
  async cancel(id: string): Promise<void> {
    this._put(await this.api.cancel(id));
    this._publishSoon();
  }

  private async _synchronise(): Promise<void> {
    const asked = ++this._asked;
    await this._load(async () => {
      const page = await this._page(null, Math.min(LARGEST_PAGE, Math.max(PAGE, this._jobs.size)));
      if (asked !== this._asked) {
        return;
      }
      this._take(page);
      this._dropOlderThan(page);
      await this._readOn(asked, PAGE);
    }, asked);
  }

  /** Read on until `wanted` jobs are visible, within reason. */
  private async _readOn(asked: number, wanted: number): Promise<void> {
    for (let pages = 0; pages < PAGES_AT_ONCE && this._cursor && this._visible().length < wanted; pages++) {
      const page = await this._page(this._cursor, this._filtersHere() ? LARGEST_PAGE : PAGE);
      if (asked !== this._asked) {
        return;
      }
      this._take(page);
    }
  }

  private _page(cursor: string | null, limit: number): Promise<Page<Job>> {
    return this.api.list({
      limit,
      cursor: cursor ?? undefined,
      state: this._filter === 'live' ? 'live' : undefined
    });
  }

  /** Whether the filter is one that the server does not know. */
  private _filtersHere(): boolean {
    return this._name !== '' || this._filter === 'finished';
  }

  private _take(page: Page<Job>): void {
    this._cursor = page.next_cursor;
    page.items.forEach(job => this._put(job));
  }

  /** Forget what lies behind the cursor, so that the list has no gap. */
  private _dropOlderThan(page: Page<Job>): void {
    const last = page.items.at(-1);
    if (page.next_cursor === null || !last) {
      return;
    }
    for (const job of [...this._jobs.values()]) {
      if (newestFirst(last, job) < 0) {
        this._jobs.delete(job.id);
      }
    }
  }

  /** Do a request that the whole list waits for; one that was overtaken by a newer one leaves no trace. */
  private async _load(work: () => Promise<void>, asked = this._asked): Promise<void> {
    this._loading = true;
    this._publish();
    try {
      await work();
      if (asked === this._asked) {
        this._error = null;
      }
    } catch (error) {
      if (asked === this._asked) {
        this._error = asServerError(error);
      }
      throw error;
    } finally {
      if (asked === this._asked) {
        this._loading = false;
        this._publish();
      }
    }
  }

  private _put(answer: Job): void {
    const known = this._jobs.get(answer.id);
    const job = mergeAnswer(known, answer);
    this._jobs.set(job.id, job);
    if (known && known.state !== job.state) {
      this._jobMoved.emit({ job, before: known.state });
    }
  }

  private _onEvent(_: unknown, event: JobEvent): void {
    const known = this._jobs.get(event.job_id);
    if (known) {
      const job = applyEvent(known, event);
      if (job !== known) {
        this._jobs.set(job.id, job);
        if (job.state !== known.state) {
          this._jobMoved.emit({ job, before: known.state });
        }
      }
    }
    // An event carries no times, and nothing of a job we have not seen: the server is asked for those.
    if (!known || event.what === 'state') {
      this._touched.add(event.job_id);
    }
    this._publishSoon();
  }

  private _onConnected(_: unknown, connected: boolean): void {
    if (connected) {
      void this._poll.stop();
      // What happened while nobody listened is not told again.
      void this.refresh();
    } else {
      void this._poll.start();
    }
  }

  private async _askForTouched(): Promise<void> {
    const ids = [...this._touched];
    this._touched.clear();
    if (ids.length > MANY) {
      await this.refresh();
      return;
    }
    await Promise.all(
      ids.map(async id => {
        try {
          this._put(await this.api.get(id));
        } catch (error) {
          // 404: somebody else's job. The rest shows with the next request of the whole list.
          if (asServerError(error).status !== 404) {
            this._error = asServerError(error);
          }
        }
      })
    );
    this._publish();
  }

  private _publishSoon(): void {
    this._publishTimer ??= setTimeout(() => {
      this._publishTimer = undefined;
      this._publish();
      if (this._touched.size) {
        void this._askForTouched();
      }
    }, COALESCE_MS);
  }

  private _publish(): void {
    if (this.isDisposed) {
      return;
    }
    this._state = {
      jobs: this._visible(),
      filter: this._filter,
      name: this._name,
      loading: this._loading,
      error: this._error,
      hasMore: this._cursor !== null
    };
    this._changed.emit(this._state);
  }

  private _visible(): Job[] {
    const name = this._name.toLowerCase();
    return [...this._jobs.values()]
      .filter(
        job =>
          (this._filter === 'all' || isFinal(job.state) === (this._filter === 'finished')) &&
          job.name.toLowerCase().includes(name)
      )
      .sort(newestFirst);
  }

  private readonly _jobs = new Map<string, Job>();
  private readonly _touched = new Set<string>();
  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, JobsState>(this);
  private readonly _jobMoved = new Signal<this, StateChange>(this);
  private _filter: StateFilter = 'all';
  private _name = '';
  private _cursor: string | null = null;
  private _loading = false;
  private _error: ServerError | null = null;
  /** Counts requests of the whole list, so that only the newest one's answer is taken. */
  private _asked = 0;
  private _publishTimer: ReturnType<typeof setTimeout> | undefined;
  private _state: JobsState = { jobs: [], filter: 'all', name: '', loading: true, error: null, hasMore: false };
}
