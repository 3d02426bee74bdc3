import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import { type Checkpoint, isFinal, type Job, type JobDetail, type Transition } from '../api/jobs';
import { asServerError, type ServerError } from '../api/request';
import { LogModel } from './log';
import type { JobsModel, StateChange } from './model';
import { applyEvent, type JobEvent, mergeAnswer } from './order';

export interface DetailState {
  readonly job: JobDetail | null;
  readonly transitions: readonly Transition[];
  readonly checkpoints: readonly Checkpoint[];
  /** The jobs that this one comes after, and the sweep it is a part of, as far as they are known. */
  readonly related: ReadonlyMap<string, Job>;
  /** Null for a sweep, which writes none. */
  readonly log: LogModel | null;
  readonly error: ServerError | null;
}

/** Changes come in bursts; the server is asked at most this often (milliseconds). */
const COALESCE_MS = 100;
/** A sweep counts its children, of which many may move at once (milliseconds). */
const FAMILY_MS = 1_000;
/** So many other jobs are asked for their names and states. */
const RELATED = 10;
/** How often to ask while the event stream is down (milliseconds). */
const POLL_MS = 5_000;

/** One job with all that is known of it, kept true by events. */
export class DetailModel implements IDisposable {
  constructor(
    readonly id: string,
    private readonly _jobs: JobsModel
  ) {
    _jobs.events.received.connect(this._onEvent, this);
    _jobs.events.connectedChanged.connect(this._onConnected, this);
    _jobs.jobMoved.connect(this._onMoved, this);
    this._pollUnless(_jobs.events.connected);
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
    clearTimeout(this._familyTimer);
    clearInterval(this._polling);
    this._jobs.events.received.disconnect(this._onEvent, this);
    this._jobs.events.connectedChanged.disconnect(this._onConnected, this);
    this._jobs.jobMoved.disconnect(this._onMoved, this);
    this._state.log?.dispose();
    Signal.clearData(this);
  }

  /** Ask the server for everything but the log, and let the log read on. */
  async refresh(): Promise<void> {
    const { api } = this._jobs;
    const since = this._clock;
    try {
      const [answer, transitions, checkpoints] = await Promise.all([
        api.get(this.id),
        api.transitions(this.id),
        api.checkpoints(this.id)
      ]);
      if (this._disposed) {
        return;
      }
      const known = this._state.job;
      const job = known && this._heard > since ? mergeAnswer(known, answer) : answer;
      const log = this._state.log ?? (job.kind === 'sweep' ? null : new LogModel(api, this.id, job.log_size));
      this._set({ job, transitions: transitions.items, checkpoints: checkpoints.items, log, error: null });
      void log?.read(job.log_size, isFinal(job.state));
      if (!known) {
        await this._loadRelated(job);
      }
    } catch (error) {
      this._set({ error: asServerError(error) });
    }
  }

  private async _loadRelated({ parent_id, after }: Job): Promise<void> {
    const ids = [...(parent_id ? [parent_id] : []), ...after].slice(0, RELATED);
    const answers = await Promise.allSettled(ids.map(id => this._jobs.api.get(id)));
    const found = answers.flatMap(answer => (answer.status === 'fulfilled' ? [answer.value] : []));
    this._set({ related: new Map(found.map(job => [job.id, job])) });
  }

  private _onEvent(_: unknown, event: JobEvent): void {
    this._clock += 1;
    if (event.job_id !== this.id) {
      this._onOther(event);
      return;
    }
    this._heard = this._clock;
    if (this._state.job) {
      const job = applyEvent(this._state.job, event);
      if (job !== this._state.job) {
        this._set({ job });
      }
      void this._state.log?.read(job.log_size, isFinal(job.state));
    }
    if (event.what === 'state' || event.what === 'checkpoint') {
      this._refreshSoon();
    }
  }

  private _onOther(event: JobEvent): void {
    const other = this._state.related.get(event.job_id);
    if (other) {
      this._set({ related: new Map(this._state.related).set(other.id, applyEvent(other, event)) });
    } else if (this._state.job?.kind === 'sweep' && event.what === 'state') {
      // An event does not tell whose child it is about.
      this._familyTimer ??= setTimeout(() => {
        this._familyTimer = undefined;
        void this.refresh();
      }, FAMILY_MS);
    }
  }

  private _onMoved(_: unknown, change: StateChange): void {
    if (change.job.id === this.id) {
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
      this._polling = setInterval(() => {
        if (this._state.job && !isFinal(this._state.job.state)) {
          void this.refresh();
        }
      }, POLL_MS);
    }
  }

  private _refreshSoon(): void {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => void this.refresh(), COALESCE_MS);
  }

  private _set(change: Partial<DetailState>): void {
    if (!this._disposed) {
      this._state = { ...this._state, ...change };
      this._changed.emit(this._state);
    }
  }

  private readonly _changed = new Signal<this, DetailState>(this);
  private _disposed = false;
  /** Counts events, and remembers the last one of this job: an answer that was asked for earlier may be older. */
  private _clock = 0;
  private _heard = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _familyTimer: ReturnType<typeof setTimeout> | undefined;
  private _polling: ReturnType<typeof setInterval> | undefined;
  private _state: DetailState = {
    job: null,
    transitions: [],
    checkpoints: [],
    related: new Map(),
    log: null,
    error: null
  };
}
