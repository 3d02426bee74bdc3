import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { type LabIcon, ReactWidget } from '@jupyterlab/ui-components';
import type { IDisposable } from '@lumino/disposable';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import { TRANSLATION_DOMAIN } from '../tokens';
import { Trans } from './components';

/** What a panel shows when one thing of its list is opened. */
interface IDetail extends IDisposable {
  readonly id: string;
}

interface IPanelOptions {
  readonly id: string;
  /** The panel's name, before it is translated. */
  readonly name: (trans: TranslationBundle) => string;
  readonly icon: LabIcon;
  readonly translator: ITranslator;
}

/** A side panel: a list, or one thing of it. It remembers the row that was left, and says aloud what happens. */
export abstract class ListPanel<T extends IDetail> extends ReactWidget {
  constructor({ id, name, icon, translator }: IPanelOptions) {
    super();
    this.trans = translator.load(TRANSLATION_DOMAIN);
    this.id = id;
    this.addClass('jpx-Panel');
    this.title.icon = icon;
    this.title.caption = name(this.trans);
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', name(this.trans));
  }

  /** The thing that a command without arguments is about: the open one, or the current row. */
  get target(): string | null {
    const current = this.current !== null && this.has(this.current) ? this.current : null;
    return this.detail?.id ?? current;
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._detail?.dispose();
      super.dispose();
    }
  }

  /** Show one thing. */
  open(id: string): void {
    if (this._detail?.id !== id) {
      this._detail?.dispose();
      this._detail = this.makeDetail(id);
      this._current = id;
      this.update();
    }
  }

  /** Show the list, with the focus on the row of what was open. */
  back(): void {
    this._detail?.dispose();
    this._detail = null;
    this._cameBack = true;
    this.update();
  }

  /** Whether the list has this. */
  protected abstract has(id: string): boolean;
  protected abstract makeDetail(id: string): T;
  protected abstract renderDetail(detail: T): React.ReactElement;
  protected abstract renderList(): React.ReactElement;

  /** Say this to those who listen. */
  protected announce(text: string): void {
    this._announcement = text;
    this.update();
  }

  protected render(): React.ReactElement {
    return (
      <Trans.Provider value={this.trans}>
        <div className="jpx-Hidden" role="status" aria-live="polite">
          {this._announcement}
        </div>
        {this._detail ? this.renderDetail(this._detail) : this.renderList()}
      </Trans.Provider>
    );
  }

  protected override onActivateRequest(_: Message): void {
    const { node } = this;
    const target =
      node.querySelector<HTMLElement>('.jpx-Detail h2') ??
      node.querySelector<HTMLElement>('[data-row-id][tabindex="0"]') ??
      node.querySelector<HTMLElement>('input, button');
    target?.focus();
  }

  protected get detail(): T | null {
    return this._detail;
  }

  /** The row that holds the focus, or did. */
  protected get current(): string | null {
    return this._current;
  }

  /** Whether the list is drawn because something was closed, so that it takes the focus. */
  protected get cameBack(): boolean {
    return this._cameBack;
  }

  // The same functions for every drawing, so that rows that did not change are not drawn again.
  protected readonly onOpen = (id: string): void => this.open(id);
  protected readonly onBack = (): void => this.back();
  protected readonly onCurrent = (id: string): void => {
    if (id !== this._current) {
      this._current = id;
      this.update();
    }
  };

  protected readonly trans: TranslationBundle;
  private _detail: T | null = null;
  private _current: string | null = null;
  private _cameBack = false;
  private _announcement = '';
}
