import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import { type Checkpoint, isFinal, type JobDetail, type Transition } from '../api/jobs';
import { asServerError, type ServerError } from '../api/request';
import { LogModel } from './log';
import type { JobsModel, StateChange } from './model';
import { applyEvent, type JobEvent, mergeAnswer } from './order';

export interface DetailState {
  readonly job: JobDetail | null;
  readonly transitions: readonly Transition[];
  readonly checkpoints: readonly Checkpoint[];
  readonly log: LogModel | null;
  readonly error: ServerError | null;
}

/** Changes come in bursts; the server is asked at most this often (milliseconds). */
const COALESCE_MS = 100;
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
    try {
      const [answer, transitions, checkpoints] = await Promise.all([
        api.get(this.id),
        api.transitions(this.id),
        api.checkpoints(this.id)
      ]);
      if (this._disposed) {
        return;
      }
      const job = mergeAnswer(this._state.job ?? undefined, answer);
      const log = this._state.log ?? new LogModel(api, this.id, job.log_size);
      this._set({ job, transitions: transitions.items, checkpoints: checkpoints.items, log, error: null });
      void log.read(job.log_size, isFinal(job.state));
    } catch (error) {
      this._set({ error: asServerError(error) });
    }
  }

  private _onEvent(_: unknown, event: JobEvent): void {
    if (event.job_id !== this.id) {
      return;
    }
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
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _polling: ReturnType<typeof setInterval> | undefined;
  private _state: DetailState = { job: null, transitions: [], checkpoints: [], log: null, error: null };
}
