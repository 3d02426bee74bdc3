import { EventManager, type Event, type ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

/** The id of a noun's event schema. */
export function eventSchema(noun: string): string {
  return `https://jupyter-ext.readthedocs.io/events/${noun}/v1`;
}

/** A stream of one noun's events that says whether it is connected. */
export interface IEventStream<T> {
  /** Whether events arrive now. While they do not, what was shown may be out of date. */
  readonly connected: boolean;
  readonly connectedChanged: ISignal<IEventStream<T>, boolean>;
  readonly received: ISignal<IEventStream<T>, T>;
}

/**
 * The server's events, on one socket for all nouns.
 *
 * The application's own `serviceManager.events` does not tell when its socket opens or closes, and a panel that must not
 * poll has to know that. So this is an event manager of the same class whose socket is watched.
 */
export class ServerEvents implements IDisposable {
  constructor(settings: ServerConnection.ISettings) {
    this._manager = new EventManager({
      serverSettings: { ...settings, WebSocket: watched(settings.WebSocket, open => this._setConnected(open)) }
    });
    this._manager.stream.connect((_, emission: Event.Emission) =>
      this._streams.get(emission.schema_id)?.received.emit(emission)
    );
  }

  /** The events of one noun; `T` is what its schema says. */
  stream<T>(noun: string): IEventStream<T> {
    const schema = eventSchema(noun);
    const known = this._streams.get(schema) ?? new Stream<unknown>();
    known.connected = this._connected;
    this._streams.set(schema, known);
    return known as Stream<T>;
  }

  get isDisposed(): boolean {
    return this._manager.isDisposed;
  }

  dispose(): void {
    this._manager.dispose();
    this._streams.forEach(stream => Signal.clearData(stream));
  }

  private _setConnected(connected: boolean): void {
    if (connected !== this._connected && !this.isDisposed) {
      this._connected = connected;
      this._streams.forEach(stream => {
        stream.connected = connected;
        stream.connectedChanged.emit(connected);
      });
    }
  }

  private _connected = false;
  private readonly _streams = new Map<string, Stream<unknown>>();
  private readonly _manager: EventManager;
}

class Stream<T> implements IEventStream<T> {
  connected = false;
  readonly connectedChanged = new Signal<this, boolean>(this);
  readonly received = new Signal<this, T>(this);
}

function watched(base: typeof WebSocket, changed: (open: boolean) => void): typeof WebSocket {
  return class extends base {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener('open', () => changed(true));
      this.addEventListener('close', () => changed(false));
    }
  };
}
