import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import { type Cluster, type ClusterNode, type ClusterState, DEFAULT_CLUSTER, type NodeState } from '../api/clusters';
import type { WorkerKind } from '../api/clusters';
import { Chip, Section, useModel, useTrans } from '../common/components';
import { CLUSTER_ICONS } from '../icons';
import { amountsLabel, usageLabels, useLabel, wantedLabels } from '../jobs/format';
import type { ClustersModel } from './model';

interface ClustersProps {
  readonly model: ClustersModel;
  readonly onStart: (name: string) => void;
  readonly onStop: (name: string) => void;
  readonly onResize: (name: string, kind: string, limit: number) => void;
}

/** The user's clusters: how they are, what they consist of, what the queue wants of them, and what was used. */
export function Clusters(props: ClustersProps): React.ReactElement | null {
  const { model } = props;
  const trans = useTrans();
  const { clusters, usage, open, busy, error } = useModel(model);
  const [own] = clusters;
  // Why nothing can be had of the server at all is said above, once.
  if (!own) {
    return null;
  }
  return (
    <div className="jpx-Clusters" role="region" aria-label={trans.__('Clusters')}>
      <Section
        title={trans.__('Cluster')}
        open={open}
        aside={<ClusterChip state={own.state} />}
        onToggle={opened => model.setOpen(opened)}
      >
        {error && <p className="jpx-Clusters-error">{trans.__('Not up to date: %1', error.message)}</p>}
        {clusters.map(cluster => (
          <ClusterView key={cluster.name} {...props} cluster={cluster} busy={busy.has(cluster.name)} />
        ))}
      </Section>
      {usage && (
        <p className="jpx-Clusters-usage">
          {usageLabels(usage, trans).map(part => (
            <React.Fragment key={part}>
              <span>{part}</span>{' '}
            </React.Fragment>
          ))}
        </p>
      )}
    </div>
  );
}

function ClusterChip({ state }: { state: ClusterState | NodeState }): React.ReactElement {
  return <Chip state={state} icon={CLUSTER_ICONS[state]} label={labelOf(state, useTrans())} />;
}

/** The word for a state of a cluster or a node. */
function labelOf(state: ClusterState | NodeState, trans: TranslationBundle): string {
  const labels: Record<ClusterState | NodeState, string> = {
    stopped: trans.__('Stopped'),
    starting: trans.__('Starting'),
    running: trans.__('Running'),
    idle: trans.__('Idle'),
    unreachable: trans.__('Unreachable'),
    stopping: trans.__('Stopping')
  };
  return labels[state];
}

function ClusterView(props: ClustersProps & { readonly cluster: Cluster; readonly busy: boolean }): React.ReactElement {
  const { cluster, busy, onStart, onStop, onResize } = props;
  const trans = useTrans();
  const { name, state, message, nodes, kinds } = cluster;
  const wanted = wantedLabels(cluster.wanted, trans);
  const stopped = state === 'stopped';
  return (
    <div className="jpx-Cluster">
      {name !== DEFAULT_CLUSTER && (
        <h3 className="jpx-Entries-head">
          {name}
          <ClusterChip state={state} />
        </h3>
      )}
      {message.toLowerCase() !== `${state}.` && <p>{message}</p>}
      {nodes.length > 0 && (
        <ul className="jpx-Entries" aria-label={trans.__('Nodes')}>
          {nodes.map(node => (
            <NodeView key={node.id} node={node} />
          ))}
        </ul>
      )}
      {wanted.length > 0 && <p>{trans.__('Asked to have room for: %1', wanted.join('; '))}</p>}
      {!stopped &&
        kinds.map(kind => (
          <Size key={kind.name} kind={kind} busy={busy} onResize={limit => onResize(name, kind.name, limit)} />
        ))}
      <button
        type="button"
        className="jpx-Button"
        disabled={busy || state === 'stopping'}
        onClick={() => (stopped ? onStart(name) : onStop(name))}
      >
        {stopped ? trans.__('Start the cluster') : trans.__('Stop the cluster')}
      </button>
    </div>
  );
}

function NodeView({ node }: { node: ClusterNode }): React.ReactElement {
  const trans = useTrans();
  return (
    <li title={node.id}>
      <span className="jpx-Entries-head">
        {node.kind}
        <ClusterChip state={node.state} />
      </span>
      <p>{useLabel(node.used, node.total, trans)}</p>
      {node.message && <p>{node.message}</p>}
    </li>
  );
}

interface SizeProps {
  readonly kind: WorkerKind;
  readonly busy: boolean;
  readonly onResize: (limit: number) => void;
}

/** How many workers of a kind there may be. The server knows how many at most, and says so. */
function Size({ kind, busy, onResize }: SizeProps): React.ReactElement {
  const trans = useTrans();
  const [typed, setTyped] = React.useState(String(kind.max_nodes));
  React.useEffect(() => setTyped(String(kind.max_nodes)), [kind.max_nodes]);
  const limit = /^\d+$/.test(typed) ? Number(typed) : null;
  const label = trans.__('%1 workers, at most', kind.name);
  return (
    <form
      className="jpx-Cluster-size"
      onSubmit={event => {
        event.preventDefault();
        if (limit !== null && limit !== kind.max_nodes) {
          onResize(limit);
        }
      }}
    >
      <label title={amountsLabel(kind.resources, trans)}>
        {label}
        <input
          type="number"
          className="jpx-Field"
          min={0}
          step={1}
          value={typed}
          onChange={event => setTyped(event.target.value)}
        />
      </label>
      <button type="submit" className="jpx-Button" disabled={busy || limit === null || limit === kind.max_nodes}>
        {trans.__('Set')}
      </button>
    </form>
  );
}
