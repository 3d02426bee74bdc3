import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import { type Cluster, type ClusterEvent, type ClustersApi, DEFAULT_CLUSTER } from '../api/clusters';
import type { IEventStream } from '../api/events';
import { isFinal, isPlaced, type JobUsage } from '../api/jobs';
import { asServerError, type ServerError } from '../api/request';
import { Following } from '../common/following';
import type { JobsModel } from '../jobs/model';
import type { JobEvent } from '../jobs/order';

export interface ClustersState {
  /** The cluster that everybody has, and others that are not stopped; none before the server has answered. */
  readonly clusters: readonly Cluster[];
  readonly usage: JobUsage | null;
  /** Whether the nodes are looked at, so that they are to be up to date. */
  readonly open: boolean;
  /** The clusters that the user is starting, stopping or resizing now. */
  readonly busy: ReadonlySet<string>;
  readonly error: ServerError | null;
}

/** How often to ask while the event stream is down (milliseconds). */
const POLL_MS = 10_000;
/** Events come in bursts; the server is asked so long after the first (milliseconds). */
const SOON_MS = 1_000;
/** Ray tells some seconds later what a job holds, or no longer: it is asked once more after the last event. */
const SETTLED_MS = 6_000;

/** The user's clusters and what was used of them, kept true by events. It polls only while no events arrive. */
export class ClustersModel implements IDisposable {
  constructor(
    readonly api: ClustersApi,
    private readonly _jobs: JobsModel,
    events: IEventStream<ClusterEvent>
  ) {
    _jobs.events.received.connect(this._onJob, this);
    this._following = new Following(
      events,
      () => this._load(),
      event => this._onEvent(event),
      POLL_MS
    );
  }

  get state(): ClustersState {
    return this._state;
  }

  get changed(): ISignal<this, ClustersState> {
    return this._changed;
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
    clearTimeout(this._settledTimer);
    this._jobs.events.received.disconnect(this._onJob, this);
    Signal.clearData(this);
  }

  async start(): Promise<void> {
    await this._following.start();
  }

  /** Ask the server for everything, anew. */
  async refresh(): Promise<void> {
    await this._following.refresh();
  }

  /** Look at the nodes, or no longer. */
  setOpen(open: boolean): void {
    if (open !== this._state.open) {
      this._set({ open });
      if (open) {
        void this.refresh();
        this._refreshSettled();
      }
    }
  }

  /** Begin to start a cluster; the server's refusal is the caller's to show, as with all that follows. */
  async startCluster(name: string): Promise<void> {
    await this._act(name, () => this.api.start(name));
  }

  /** Stop a cluster and everything that runs in it. */
  async stopCluster(name: string): Promise<void> {
    await this._act(name, () => this.api.stop(name));
  }

  /** Set how many workers of a kind a cluster may have at most. */
  async resizeCluster(name: string, kind: string, limit: number): Promise<void> {
    await this._act(name, () => this.api.resize(name, { [kind]: limit }));
  }

  /** How many jobs hold a place on the cluster now; a sweep counts as one. */
  async countRunningJobs(): Promise<number> {
    const { items } = await this._jobs.api.list({ limit: 500, state: 'live' });
    return items.filter(job => isPlaced(job.state)).length;
  }

  private async _act(name: string, act: () => Promise<Cluster>): Promise<void> {
    this._setBusy(name, true);
    try {
      this._put(await act());
    } finally {
      this._setBusy(name, false);
    }
  }

  private _setBusy(name: string, busy: boolean): void {
    const now = new Set(this._state.busy);
    now[busy ? 'add' : 'delete'](name);
    this._set({ busy: now });
  }

  private async _load(): Promise<void> {
    const asked = ++this._asked;
    try {
      const [page] = await Promise.all([this.api.list(), this._loadUsage()]);
      const started = page.items.find(({ name }) => name === DEFAULT_CLUSTER);
      const own = started ?? (await this.api.get(DEFAULT_CLUSTER));
      const others = page.items.filter(({ name, state }) => name !== DEFAULT_CLUSTER && state !== 'stopped');
      if (asked === this._asked) {
        this._set({ clusters: [own, ...others], error: null });
      }
    } catch (error) {
      if (asked === this._asked) {
        this._set({ error: asServerError(error) });
      }
      throw error;
    }
  }

  private async _loadUsage(): Promise<void> {
    this._set({ usage: await this._jobs.api.usage() });
  }

  private _put(cluster: Cluster): void {
    // What was asked for before is older.
    this._asked += 1;
    const { clusters } = this._state;
    const known = clusters.some(({ name }) => name === cluster.name);
    this._set({
      clusters: known ? clusters.map(other => (other.name === cluster.name ? cluster : other)) : [...clusters, cluster],
      error: null
    });
  }

  private _onEvent({ name, state, message }: ClusterEvent): void {
    const known = this._state.clusters.find(cluster => cluster.name === name);
    if (known) {
      // A cluster that does not run has no nodes; those of one that does are asked for.
      this._put({ ...known, state, message, nodes: state === 'running' ? known.nodes : [] });
    }
    this._refreshSoon();
  }

  private _onJob(_: unknown, { what, state }: JobEvent): void {
    if (what === 'state' && (isFinal(state) || (this._state.open && state !== 'queued'))) {
      this._refreshSoon();
    }
  }

  private _refreshSoon(): void {
    this._timer ??= setTimeout(() => {
      this._timer = undefined;
      // The state of a cluster came with its event; the rest is shown only when it is looked at.
      void (this._state.open ? this.refresh() : this._loadUsage().catch(() => undefined));
    }, SOON_MS);
    this._refreshSettled();
  }

  private _refreshSettled(): void {
    clearTimeout(this._settledTimer);
    this._settledTimer = setTimeout(() => {
      if (this._state.open) {
        void this.refresh();
      }
    }, SETTLED_MS);
  }

  private _set(change: Partial<ClustersState>): void {
    if (!this.isDisposed) {
      this._state = { ...this._state, ...change };
      this._changed.emit(this._state);
    }
  }

  private readonly _changed = new Signal<this, ClustersState>(this);
  private readonly _following: Following<ClusterEvent>;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _settledTimer: ReturnType<typeof setTimeout> | undefined;
  /** Counts requests and what is newer than their answers. */
  private _asked = 0;
  private _state: ClustersState = { clusters: [], usage: null, open: false, busy: new Set(), error: null };
}
