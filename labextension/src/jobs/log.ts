import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';
import type { JobsApi } from '../api/jobs';
import { asServerError, type ServerError } from '../api/request';

/** Some lines of a log. A block that is not the last one never changes, so a view draws it once. */
export interface LogBlock {
  /** Counts blocks from the one that was read first; earlier ones, loaded later, have negative keys. */
  readonly key: number;
  readonly text: string;
}

export interface LogState {
  readonly blocks: readonly LogBlock[];
  /** Bytes of the log as far as the server has told. */
  readonly size: number;
  /** Where the loaded part begins (bytes); what is before is not loaded. */
  readonly start: number;
  /** Whether earlier text is being loaded, could be, or is too much. */
  readonly earlier: 'loading' | 'more' | 'none';
  /** Whether all of it has been read and nothing follows. */
  readonly complete: boolean;
  readonly error: ServerError | null;
}

/** How much text is kept and drawn (characters), whatever the log's size; so much more with each loading of earlier text. */
export const KEPT = 500_000;
/** As much as that may become: a page can draw and search it at once. */
const MOST_KEPT = 8 * KEPT;
const CHUNK = 250_000;
const BLOCK_LINES = 200;
const BLOCK_CHARACTERS = 32_000;
/** The last lines of a job may reach the storage a little after its end. */
const RETRY_MS = 1_000;
const RETRIES = 30;

/** The tail of a job's log, read on as it grows. */
export class LogModel implements IDisposable {
  /**
   * @param size - The log's size in bytes now; reading begins so near to its end that what is kept is enough.
   */
  constructor(
    private readonly _api: Pick<JobsApi, 'log'>,
    readonly jobId: string,
    size: number
  ) {
    this._offset = Math.max(0, size - KEPT);
    this._partial = this._offset > 0;
    const earlier = this._partial ? 'more' : 'none';
    this._state = { blocks: [], size, start: this._offset, earlier, complete: false, error: null };
  }

  get state(): LogState {
    return this._state;
  }

  get changed(): ISignal<this, LogState> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._timer);
    Signal.clearData(this);
  }

  /**
   * Read as far as the log goes.
   *
   * @param size - The log's size that an event or an answer told.
   * @param ended - Whether the job is over, so that the log will be complete soon.
   */
  async read(size: number, ended: boolean): Promise<void> {
    this._size = Math.max(this._size, size);
    this._ended ||= ended;
    if (this._reading || this._disposed) {
      return;
    }
    this._reading = true;
    try {
      await this._readOn();
      this._set({ error: null });
    } catch (error) {
      this._set({ error: asServerError(error) });
    } finally {
      this._reading = false;
    }
    this._retryUntilComplete();
  }

  /** Load some of what is before the loaded part. */
  async loadEarlier(): Promise<void> {
    const { start: end, earlier } = this._state;
    if (earlier !== 'more') {
      return;
    }
    this._kept = Math.min(MOST_KEPT, this._kept + KEPT);
    this._set({ earlier: 'loading' });
    const from = Math.max(0, end - KEPT);
    let text = '';
    try {
      for (let offset = from; offset < end;) {
        const chunk = await this._api.log(this.jobId, offset, Math.min(CHUNK, end - offset));
        text += chunk.text;
        if (chunk.next_offset <= offset) {
          break;
        }
        offset = chunk.next_offset;
      }
      // Of a log that grows by so much meanwhile, the loaded part begins later now, and this does not join it.
      if (this._state.start === end) {
        this._prepend(from > 0 ? text.slice(text.indexOf('\n') + 1) : text, end);
      }
      this._set({ error: null });
    } catch (error) {
      this._set({ error: asServerError(error) });
    } finally {
      this._set({ earlier: this._earlier() });
    }
  }

  private _prepend(text: string, end: number): void {
    const pieces = split(text);
    const first = this._state.blocks[0]?.key ?? 0;
    const earlier = pieces.map((piece, index) => ({ key: first - pieces.length + index, text: piece }));
    this._set({ blocks: [...earlier, ...this._state.blocks], start: Math.max(0, end - size(text)) });
  }

  private _earlier(): 'more' | 'none' {
    return this._state.start > 0 && this._kept < MOST_KEPT ? 'more' : 'none';
  }

  private async _readOn(): Promise<void> {
    let first = !this._started;
    while (!this._disposed && !this._state.complete && (first || this._ended || this._offset < this._size)) {
      const chunk = await this._api.log(this.jobId, this._offset, CHUNK);
      first = false;
      this._started = true;
      this._append(chunk.text, chunk.next_offset, chunk.complete);
      if (chunk.next_offset <= this._offset && !chunk.complete) {
        return;
      }
      this._offset = chunk.next_offset;
    }
  }

  private _append(text: string, offset: number, complete: boolean): void {
    let { start } = this._state;
    if (this._partial) {
      // Reading began in the middle of a line, perhaps of a character.
      const end = text.indexOf('\n') + 1;
      start += size(text.slice(0, end));
      text = text.slice(end);
      this._partial = false;
    }
    const last = this._state.blocks.at(-1);
    const pieces = split((last?.text ?? '') + text);
    const key = last?.key ?? 0;
    const blocks = [
      ...this._state.blocks.slice(0, -1),
      ...pieces.map((piece, index) => ({ key: key + index, text: piece }))
    ];
    let kept = blocks.reduce((sum, block) => sum + block.text.length, 0);
    let dropped = 0;
    while (kept > this._kept && dropped < blocks.length - 1) {
      kept -= blocks[dropped]!.text.length;
      start += size(blocks[dropped]!.text);
      dropped += 1;
    }
    this._size = Math.max(this._size, offset);
    this._set({ blocks: blocks.slice(dropped), size: this._size, start, complete });
    if (this._state.earlier !== 'loading') {
      this._set({ earlier: this._earlier() });
    }
  }

  private _retryUntilComplete(): void {
    if (this._ended && !this._state.complete && !this._disposed && this._retries < RETRIES) {
      this._retries += 1;
      clearTimeout(this._timer);
      this._timer = setTimeout(() => void this.read(this._size, true), RETRY_MS);
    }
  }

  private _set(change: Partial<LogState>): void {
    if (!this._disposed) {
      this._state = { ...this._state, ...change };
      this._changed.emit(this._state);
    }
  }

  private _offset: number;
  private _kept = KEPT;
  private _partial: boolean;
  private _size = 0;
  private _ended = false;
  private _started = false;
  private _reading = false;
  private _disposed = false;
  private _retries = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _state: LogState;
  private readonly _changed = new Signal<this, LogState>(this);
}

/** Bytes of a text in UTF-8. A character that was cut in two counts for three, never for less than it was. */
function size(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** Cut text after some lines each, or after many characters where no line ends. */
function split(text: string): string[] {
  const pieces: string[] = [];
  let start = 0;
  let lines = 0;
  for (let index = 0; index < text.length; index++) {
    lines += text[index] === '\n' ? 1 : 0;
    if (lines === BLOCK_LINES || index - start + 1 === BLOCK_CHARACTERS) {
      pieces.push(text.slice(start, index + 1));
      start = index + 1;
      lines = 0;
    }
  }
  return start < text.length || !pieces.length ? [...pieces, text.slice(start)] : pieces;
}

// eslint-disable-next-line no-control-regex -- escape sequences are made of control characters
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;

/** Return text as a terminal would leave it: without escape sequences, each line as it was last overwritten. */
export function plainText(text: string): string {
  return text
    .replace(ESCAPES, '')
    .replace(/\r+\n/g, '\n')
    .replace(/^[^\n]*\r(?=[^\n])/gm, '')
    .replace(/\r/g, '');
}

/** Read all of a log, for saving it. */
export async function wholeLog(api: Pick<JobsApi, 'log'>, id: string): Promise<string> {
  const parts: string[] = [];
  for (let offset = 0, done = false; !done;) {
    const chunk = await api.log(id, offset, 1_000_000);
    parts.push(chunk.text);
    done = chunk.complete || chunk.next_offset <= offset;
    offset = chunk.next_offset;
  }
  return parts.join('');
}
