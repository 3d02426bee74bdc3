import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import type { IEventStream } from '../api/events';
import { isFinal, type Job, type JobsApi, type JobState } from '../api/jobs';
import { asServerError, type Page, type ServerError } from '../api/request';
import { Following } from '../common/following';
import { applyEvent, isSame, type JobEvent, mergeAnswer, newestFirst } from './order';

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
  /** The children of the sweeps that are open. */
  readonly families: ReadonlyMap<string, JobsState>;
}

/** A job that moved to another state while we looked. */
export interface StateChange {
  readonly job: Job;
  readonly before: JobState;
}

/** How often to ask while the event stream is down (milliseconds). */
const POLL_MS = 5_000;
const PAGE = 50;
const LARGEST_PAGE = 500;
/** Events come in bursts; the view is told at most this often (milliseconds). */
const COALESCE_MS = 50;
/** Places in the queue change with every job that leaves it; they are asked for at most this often (milliseconds). */
const PLACES_MS = 1_000;
/** Over this many jobs touched at once, one list is cheaper than asking for each. */
const MANY = 5;
/** A filter that the server cannot apply may need some pages before it shows anything new. */
const PAGES_AT_ONCE = 5;

/**
 * The list of jobs, or of the children of one sweep, kept true by events.
 *
 * It polls only while the event stream is down, and asks for everything anew when the stream comes back.
 */
export class JobsModel implements IDisposable {
  /**
   * @param parent - The sweep whose children are listed; without it, all jobs that are nobody's children.
   */
  constructor(
    readonly api: JobsApi,
    readonly events: IEventStream<JobEvent>,
    private readonly _parent: string | null = null
  ) {
    this._following = new Following(
      events,
      () => this._synchronise(),
      event => this._onEvent(event),
      POLL_MS
    );
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
    return this._following.isDisposed;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._following.dispose();
    clearTimeout(this._publishTimer);
    clearTimeout(this._placesTimer);
    this._families.forEach(family => family.dispose());
    Signal.clearData(this);
  }

  /** Load the first page, and go on from there. */
  async start(): Promise<void> {
    await this._following.start();
  }

  /** A loaded job, be it a child. */
  job(id: string): Job | undefined {
    return this._jobs.get(id) ?? this._familyOf(id)?.job(id);
  }

  /** The children of a sweep that is open. */
  family(id: string): JobsModel | undefined {
    return this._families.get(id);
  }

  /** Show the children of a sweep, or no longer. */
  setOpen(id: string, open: boolean): void {
    const family = this._families.get(id);
    if (open === (family !== undefined)) {
      return;
    }
    if (family) {
      family.dispose();
      this._families.delete(id);
    } else {
      const opened = new JobsModel(this.api, this.events, id);
      opened.changed.connect(this._publishSoon, this);
      this._families.set(id, opened);
      void opened.start();
    }
    this._publish();
  }

  /** Ask the server for what is loaded, anew. */
  async refresh(): Promise<void> {
    this._families.forEach(family => void family.refresh());
    await this._following.refresh();
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
    this._putActed(await this.api.cancel(id));
  }

  /** Stop a job until it is resumed. */
  async pause(id: string): Promise<void> {
    this._putActed(await this.api.pause(id));
  }

  /** Let a paused job go on. */
  async resume(id: string): Promise<void> {
    this._putActed(await this.api.resume(id));
  }

  /** Take the answer to an act of the user's: no answer to what was asked before is newer. */
  private _putActed(answer: Job): void {
    const model = this._familyOf(answer.id) ?? this;
    model._heard.set(answer.id, ++model._clock);
    model._put(answer, model._clock);
    model._publishSoon();
  }

  private _familyOf(id: string): JobsModel | undefined {
    return [...this._families.values()].find(family => family.job(id));
  }

  private async _synchronise(): Promise<void> {
    const asked = ++this._asked;
    const since = this._clock;
    await this._load(async () => {
      const page = await this._page(null, Math.min(LARGEST_PAGE, Math.max(PAGE, this._jobs.size)));
      if (asked !== this._asked) {
        return;
      }
      this._take(page, since);
      this._dropOlderThan(page);
      await this._readOn(asked, PAGE);
    }, asked);
  }

  /** Read on until `wanted` jobs are visible, within reason. */
  private async _readOn(asked: number, wanted: number): Promise<void> {
    for (let pages = 0; pages < PAGES_AT_ONCE && this._cursor && this._visible().length < wanted; pages++) {
      const since = this._clock;
      const page = await this._page(this._cursor, this._filtersHere() ? LARGEST_PAGE : PAGE);
      if (asked !== this._asked) {
        return;
      }
      this._take(page, since);
    }
  }

  private _page(cursor: string | null, limit: number): Promise<Page<Job>> {
    return this.api.list({
      limit,
      cursor: cursor ?? undefined,
      state: this._filter === 'live' ? 'live' : undefined,
      parent: this._parent ?? undefined
    });
  }

  /** Whether the filter is one that the server does not know. */
  private _filtersHere(): boolean {
    return this._name !== '' || this._filter === 'finished';
  }

  private _take(page: Page<Job>, since: number): void {
    this._cursor = page.next_cursor;
    page.items.forEach(job => this._put(job, since));
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

  /** Take a job from an answer that was asked for when the clock showed `since`. */
  private _put(answer: Job, since: number): void {
    if (answer.parent_id !== this._parent) {
      this._foreign.add(answer.id);
      return;
    }
    const known = this._jobs.get(answer.id);
    const overtaken = (this._heard.get(answer.id) ?? 0) > since;
    const job = known && overtaken ? mergeAnswer(known, answer) : answer;
    this._jobs.set(job.id, job);
    if (known && known.state !== job.state) {
      this._jobMoved.emit({ job, before: known.state });
    }
  }

  private _onEvent(event: JobEvent): void {
    const { job_id: id, what } = event;
    const known = this._jobs.get(id);
    this._heard.set(id, ++this._clock);
    // An event carries no times, and nothing of a job we have not seen: the server is asked for those.
    if (known ? what === 'state' && !isSame(known, event) : this._mayBeOurs(id)) {
      this._touched.add(id);
    }
    if (what === 'state' && !(known && isSame(known, event))) {
      this._askForPlacesSoon();
    }
    const job = known && applyEvent(known, event);
    if (job && job !== known) {
      this._jobs.set(id, job);
      if (job.state !== known.state) {
        this._jobMoved.emit({ job, before: known.state });
      }
    }
    this._publishSoon();
  }

  /** Whether a job that is not loaded may belong here. All children of a sweep are there when it is opened. */
  private _mayBeOurs(id: string): boolean {
    return this._parent === null && !this._foreign.has(id) && !this._familyOf(id);
  }

  private async _askForTouched(): Promise<void> {
    const ids = [...this._touched];
    this._touched.clear();
    if (ids.length > MANY) {
      await this._synchronise().then(
        // What the list does not have is somebody else's, a child of a sweep, or older than what is loaded.
        () => ids.filter(id => !this._jobs.has(id)).forEach(id => this._foreign.add(id)),
        () => undefined
      );
      return;
    }
    const since = this._clock;
    await Promise.all(
      ids.map(async id => {
        try {
          this._put(await this.api.get(id), since);
        } catch (error) {
          // 404: somebody else's job. The rest shows with the next request of the whole list.
          if (asServerError(error).status === 404) {
            this._foreign.add(id);
          } else {
            this._error = asServerError(error);
          }
        }
      })
    );
    this._publish();
  }

  /** Ask for the places in the queue of what waits here. */
  private _askForPlacesSoon(): void {
    this._placesTimer ??= setTimeout(() => {
      this._placesTimer = undefined;
      const waiting = [...this._jobs.values()].filter(job => job.state === 'queued' && job.kind !== 'sweep').length;
      const since = this._clock;
      const query = {
        limit: Math.min(LARGEST_PAGE, waiting),
        state: 'queued',
        parent: this._parent ?? undefined
      } as const;
      if (waiting) {
        void this.api.list(query).then(
          page => {
            page.items.filter(job => this._jobs.has(job.id)).forEach(job => this._put(job, since));
            this._publish();
          },
          // The places shown are a little old then; the next event asks again.
          () => undefined
        );
      }
    }, PLACES_MS);
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
      hasMore: this._cursor !== null,
      families: new Map([...this._families].map(([id, family]) => [id, family.state]))
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
  private readonly _families = new Map<string, JobsModel>();
  private readonly _touched = new Set<string>();
  /** Jobs that events told of and that are not ours to list. */
  private readonly _foreign = new Set<string>();
  /** Counts what was heard, and when of which job last: an answer that was asked for earlier may be older. */
  private readonly _heard = new Map<string, number>();
  private _clock = 0;
  private readonly _following: Following<JobEvent>;
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
  private _placesTimer: ReturnType<typeof setTimeout> | undefined;
  private _state: JobsState = {
    jobs: [],
    filter: 'all',
    name: '',
    loading: true,
    error: null,
    hasMore: false,
    families: new Map()
  };
}
