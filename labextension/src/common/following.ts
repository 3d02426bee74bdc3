import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { IEventStream } from '../api/events';

/**
 * Keeps a model true by an event stream.
 *
 * The server is polled only while the stream is down, and asked for everything anew when the stream comes back: what
 * happened while nobody listened is not told again.
 */
export class Following<T> implements IDisposable {
  /**
   * @param load - Ask the server for everything. What fails is the model's to show; the poll slows down by it.
   * @param interval - How often to ask while the stream is down (milliseconds).
   */
  constructor(
    private readonly _events: IEventStream<T>,
    private readonly _load: () => Promise<void>,
    private readonly _take: (event: T) => void,
    interval: number
  ) {
    _events.received.connect(this._onEvent, this);
    _events.connectedChanged.connect(this._onConnected, this);
    this._poll = new Poll({
      auto: false,
      factory: _load,
      frequency: { interval, backoff: true, max: 60_000 },
      standby: 'when-hidden'
    });
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  dispose(): void {
    this._poll.dispose();
    this._events.received.disconnect(this._onEvent, this);
    this._events.connectedChanged.disconnect(this._onConnected, this);
  }

  /** Load everything, and go on from there. */
  async start(): Promise<void> {
    await (this._events.connected ? this.refresh() : this._poll.start());
  }

  /** Ask the server for everything, anew; whoever asks reads the outcome in the model's state. */
  async refresh(): Promise<void> {
    await this._load().catch(() => undefined);
  }

  private _onEvent(_: unknown, event: T): void {
    this._take(event);
  }

  private _onConnected(_: unknown, connected: boolean): void {
    if (connected) {
      void this._poll.stop();
      void this.refresh();
    } else {
      void this._poll.start();
    }
  }

  private readonly _poll: Poll;
}
