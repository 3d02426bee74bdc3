import type { ITranslator } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import type { Monitor } from '../api/monitors';
import { ListPanel } from '../common/panel';
import { monitorsIcon } from '../icons';
import { Detail } from './components/detail';
import { MonitorList } from './components/list';
import { MonitorDetail } from './detail';
import { alarmsLabel, stateLabel } from './format';
import type { MonitorChange, MonitorsModel } from './model';

/** What the panel asks of the application. */
export interface IMonitorActions {
  pause(id: string): void;
  resume(id: string): void;
  delete(id: string): void;
  copyCode(id: string): void;
}

/** Where the tab finds how many alarms fire, for the style sheet to show. */
const COUNT = 'jpx-count';
const MOST_COUNTED = 99;

/** The side panel: the list of monitors, or one monitor. Its tab says how many alarms fire. */
export class MonitorsPanel extends ListPanel<MonitorDetail> {
  constructor(
    private readonly _model: MonitorsModel,
    private readonly _actions: IMonitorActions,
    translator: ITranslator
  ) {
    super({ id: 'jupyter-ext-monitors', name: trans => trans.__('Monitors'), icon: monitorsIcon, translator });
    _model.changed.connect(this._onChanged, this);
    _model.monitorChanged.connect(this._onMonitorChanged, this);
    _model.removed.connect(this._onRemoved, this);
  }

  override dispose(): void {
    this._model.changed.disconnect(this._onChanged, this);
    this._model.monitorChanged.disconnect(this._onMonitorChanged, this);
    this._model.removed.disconnect(this._onRemoved, this);
    super.dispose();
  }

  /** Ask the server for what is shown, anew. */
  async refresh(): Promise<void> {
    await Promise.all([this._model.refresh(), this.detail?.refresh()]);
  }

  protected has(id: string): boolean {
    return this._model.monitor(id) !== undefined;
  }

  protected makeDetail(id: string): MonitorDetail {
    return new MonitorDetail(id, this._model);
  }

  protected renderDetail(detail: MonitorDetail): React.ReactElement {
    return (
      <Detail
        model={detail}
        onBack={this.onBack}
        onPause={() => this._actions.pause(detail.id)}
        onResume={() => this._actions.resume(detail.id)}
        onDelete={() => this._actions.delete(detail.id)}
        onCopyCode={() => this._actions.copyCode(detail.id)}
      />
    );
  }

  protected renderList(): React.ReactElement {
    return (
      <MonitorList
        model={this._model}
        current={this.current}
        takeFocus={this.cameBack}
        onCurrent={this.onCurrent}
        onOpen={this.onOpen}
        onDelete={this._actions.delete}
      />
    );
  }

  /** What is made, paused or deleted elsewhere is told by no event. */
  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    void this.refresh();
  }

  private _onChanged(): void {
    const { firing, pending } = this._model.state;
    const alarms = alarmsLabel(firing, pending, this.trans);
    this.title.caption = alarms ? this.trans.__('Monitors: %1', alarms) : this.trans.__('Monitors');
    const count = firing > MOST_COUNTED ? `${MOST_COUNTED}+` : firing ? String(firing) : '';
    if ((this.title.dataset[COUNT] ?? '') !== count) {
      // The side bar keeps the id of the panel there, too.
      this.title.dataset = { ...this.title.dataset, [COUNT]: count };
    }
  }

  private _onMonitorChanged(_: MonitorsModel, { monitor, before }: MonitorChange): void {
    const label = stateLabel(monitor, this.trans);
    if (label !== stateLabel(before, this.trans)) {
      this.announce(this.trans.__('%1: %2', monitor.name, label));
    }
  }

  private _onRemoved(_: MonitorsModel, monitor: Monitor): void {
    this.announce(this.trans.__('%1 was deleted.', monitor.name));
    if (this.detail?.id === monitor.id) {
      this.back();
    }
  }
}
