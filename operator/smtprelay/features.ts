/**
 * What a config asks of relays that those of an earlier version do not know and would pass over: they are to go on by the
 * config that they have, and say so, rather than do something else than what is asked. Only what is really used is named,
 * so that an operator that was upgraded first rules the relays of the version before.
 */
import { FEATURES, type Feature, type SettingsDocument } from '../../relay/config/documents.ts';

const USED: Readonly<Record<Feature, (settings: SettingsDocument) => boolean>> = {
  'smarthost-credentials': ({ delivery }) =>
    delivery.routes.some(({ smarthosts }) => smarthosts.some(({ credentials }) => credentials !== undefined)),
};

export const featuresIn = (settings: SettingsDocument): Feature[] => FEATURES.filter((word) => USED[word](settings));
