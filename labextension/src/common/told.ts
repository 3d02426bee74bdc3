import { Notification } from '@jupyterlab/apputils';
import { asServerError } from '../api/request';

/** Wait for an act of the user's; a refusal is shown, and null returned. */
export async function told<T>(act: Promise<T>): Promise<T | null> {
  try {
    return await act;
  } catch (error) {
    // Without an end of its own it would only be counted in the status bar.
    Notification.error(asServerError(error).message, { autoClose: 10_000 });
    return null;
  }
}
