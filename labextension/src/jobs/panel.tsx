import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';
import type { JobState } from '../api/jobs';
import type { ClustersModel } from '../clusters/model';
import { Clusters } from '../clusters/view';
import { ListPanel } from '../common/panel';
import { jobsIcon } from '../icons';
import { Detail } from './components/detail';
import { JobList } from './components/list';
import { DetailModel } from './detail';
import { stateLabel } from './format';
import type { JobsModel, StateChange } from './model';

/** What the panel asks of the application. */
export interface IJobActions {
  cancel(id: string): void;
  pause(id: string): void;
  resume(id: string): void;
  copyId(id: string): void;
  saveLog(id: string): void;
  openNotebook(id: string): void;
  startCluster(name: string): void;
  stopCluster(name: string): void;
  resizeCluster(name: string, kind: string, limit: number): void;
}

/** The steps on the way are shown; to tell them too would be too much. */
const UNTOLD: ReadonlySet<JobState> = new Set<JobState>(['queued', 'admitted', 'starting', 'cancelling']);

/** The side panel: the list of jobs with the clusters below, or one job. */
export class JobsPanel extends ListPanel<DetailModel> {
  constructor(
    private readonly _model: JobsModel,
    private readonly _clusters: ClustersModel,
    private readonly _actions: IJobActions,
    translator: ITranslator
  ) {
    super({ id: 'jupyter-ext-jobs', name: trans => trans.__('Jobs'), icon: jobsIcon, translator });
    _model.jobMoved.connect(this._onMoved, this);
  }

  override dispose(): void {
    this._model.jobMoved.disconnect(this._onMoved, this);
    super.dispose();
  }

  protected has(id: string): boolean {
    return this._model.job(id) !== undefined;
  }

  protected makeDetail(id: string): DetailModel {
    return new DetailModel(id, this._model);
  }

  protected renderDetail(detail: DetailModel): React.ReactElement {
    return (
      <Detail
        model={detail}
        onBack={this.onBack}
        onOpen={this.onOpen}
        onPause={() => this._actions.pause(detail.id)}
        onResume={() => this._actions.resume(detail.id)}
        onOpenNotebook={() => this._actions.openNotebook(detail.id)}
        onCancel={() => this._actions.cancel(detail.id)}
        onCopyId={() => this._actions.copyId(detail.id)}
        onSaveLog={() => this._actions.saveLog(detail.id)}
      />
    );
  }

  protected renderList(): React.ReactElement {
    return (
      <>
        <JobList
          model={this._model}
          current={this.current}
          takeFocus={this.cameBack}
          onCurrent={this.onCurrent}
          onOpen={this.onOpen}
          onCancel={this._actions.cancel}
        />
        <Clusters
          model={this._clusters}
          onStart={this._actions.startCluster}
          onStop={this._actions.stopCluster}
          onResize={this._actions.resizeCluster}
        />
      </>
    );
  }

  private _onMoved(_: JobsModel, { job }: StateChange): void {
    if (!UNTOLD.has(job.state)) {
      this.announce(this.trans.__('%1: %2', job.name, stateLabel(job.state, this.trans)));
    }
  }
}
