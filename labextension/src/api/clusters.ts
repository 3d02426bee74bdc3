import type { ServerConnection } from '@jupyterlab/services';
import { type Page, request } from './request';

/** The states of a cluster, as in `jupyter_ext.clusters.values`. */
export type ClusterState = 'stopped' | 'starting' | 'running' | 'unreachable' | 'stopping';
export type NodeState = 'starting' | 'running' | 'idle' | 'stopping';

/** Amounts of logical resources by Ray's names. */
export type Amounts = Readonly<Record<string, number>>;

/** The cluster that everybody has, and that jobs run on. */
export const DEFAULT_CLUSTER = 'default';

export interface ClusterNode {
  readonly id: string;
  /** `head`, or a kind of worker. */
  readonly kind: string;
  readonly state: NodeState;
  readonly total: Amounts;
  readonly used: Amounts;
  readonly message: string;
}

export interface WorkerKind {
  readonly name: string;
  readonly resources: Amounts;
  readonly min_nodes: number;
  readonly max_nodes: number;
}

export interface Cluster {
  readonly name: string;
  readonly state: ClusterState;
  readonly message: string;
  readonly nodes: readonly ClusterNode[];
  readonly kinds: readonly WorkerKind[];
  /** What the queue asks it to have room for, a bundle each. */
  readonly wanted: readonly Amounts[];
}

/** What the server emits about a cluster (`server/events/cluster.yaml`). */
export interface ClusterEvent {
  readonly name: string;
  readonly owner: string;
  readonly state: ClusterState;
  readonly message: string;
}

/** The routes of clusters. */
export interface ClustersApi {
  list(): Promise<Page<Cluster>>;
  get(name: string): Promise<Cluster>;
  start(name: string): Promise<Cluster>;
  /** Answers when nothing of the cluster is left. */
  stop(name: string): Promise<Cluster>;
  resize(name: string, limits: Readonly<Record<string, number>>): Promise<Cluster>;
}

/** The routes of clusters on a real server. */
export function clustersApi(settings: ServerConnection.ISettings): ClustersApi {
  return {
    list: () => request(settings, ['clusters'], { query: { limit: 100 }, activity: false }),
    get: name => request(settings, ['clusters', name], { activity: false }),
    start: name => request(settings, ['clusters', name, 'start'], { method: 'POST' }),
    stop: name => request(settings, ['clusters', name, 'stop'], { method: 'POST' }),
    resize: (name, limits) => request(settings, ['clusters', name, 'size'], { method: 'PUT', body: { limits } })
  };
}
