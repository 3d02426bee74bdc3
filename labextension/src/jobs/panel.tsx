import { ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import type { JobState } from '../api/jobs';
import type { ClustersModel } from '../clusters/model';
import { Clusters } from '../clusters/view';
import { jobsIcon } from '../icons';
import { TRANSLATION_DOMAIN } from '../tokens';
import { Trans } from './components/common';
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
export class JobsPanel extends ReactWidget {
  constructor(
    private readonly _model: JobsModel,
    private readonly _clusters: ClustersModel,
    private readonly _actions: IJobActions,
    translator: ITranslator
  ) {
    super();
    this._trans = translator.load(TRANSLATION_DOMAIN);
    this.id = 'jupyter-ext-jobs';
    this.addClass('jpx-Jobs');
    this.title.icon = jobsIcon;
    this.title.caption = this._trans.__('Jobs');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this._trans.__('Jobs'));
    _model.jobMoved.connect(this._announce, this);
  }

  /** The job that a command without arguments is about: the open one, or the current row. */
  get target(): string | null {
    const current = this._current !== null && this._model.job(this._current) ? this._current : null;
    return this._detail?.id ?? current;
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._model.jobMoved.disconnect(this._announce, this);
      this._detail?.dispose();
      super.dispose();
    }
  }

  /** Show one job. */
  open(id: string): void {
    if (this._detail?.id !== id) {
      this._detail?.dispose();
      this._detail = new DetailModel(id, this._model);
      this._current = id;
      this.update();
    }
  }

  /** Show the list, with the focus on the row of the job that was open. */
  back(): void {
    this._detail?.dispose();
    this._detail = null;
    this._cameBack = true;
    this.update();
  }

  protected render(): React.ReactElement {
    const detail = this._detail;
    return (
      <Trans.Provider value={this._trans}>
        <div className="jpx-Hidden" role="status" aria-live="polite">
          {this._announcement}
        </div>
        {detail ? (
          <Detail
            model={detail}
            onBack={() => this.back()}
            onOpen={this._open}
            onPause={() => this._actions.pause(detail.id)}
            onResume={() => this._actions.resume(detail.id)}
            onOpenNotebook={() => this._actions.openNotebook(detail.id)}
            onCancel={() => this._actions.cancel(detail.id)}
            onCopyId={() => this._actions.copyId(detail.id)}
            onSaveLog={() => this._actions.saveLog(detail.id)}
          />
        ) : (
          <>
            <JobList
              model={this._model}
              current={this._current}
              takeFocus={this._cameBack}
              onCurrent={this._setCurrent}
              onOpen={this._open}
              onCancel={this._actions.cancel}
            />
            <Clusters
              model={this._clusters}
              onStart={this._actions.startCluster}
              onStop={this._actions.stopCluster}
              onResize={this._actions.resizeCluster}
            />
          </>
        )}
      </Trans.Provider>
    );
  }

  protected override onActivateRequest(_: Message): void {
    const { node } = this;
    const target =
      node.querySelector<HTMLElement>('.jpx-Detail h2') ??
      node.querySelector<HTMLElement>('[role="treeitem"][tabindex="0"]') ??
      node.querySelector<HTMLElement>('input, button');
    target?.focus();
  }

  private _announce(_: JobsModel, { job }: StateChange): void {
    if (!UNTOLD.has(job.state)) {
      this._announcement = this._trans.__('%1: %2', job.name, stateLabel(job.state, this._trans));
      this.update();
    }
  }

  // The same functions for every drawing, so that rows that did not change are not drawn again.
  private readonly _open = (id: string): void => this.open(id);
  private readonly _setCurrent = (id: string): void => {
    if (id !== this._current) {
      this._current = id;
      this.update();
    }
  };

  private readonly _trans: TranslationBundle;
  private _detail: DetailModel | null = null;
  private _current: string | null = null;
  private _cameBack = false;
  private _announcement = '';
}
