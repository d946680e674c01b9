/** Rules on how the replicas of a relay are reached, and what they keep their queues on. See `rules.ts`. */
import type { Problem } from './problem.ts';
import { quantityBytes } from './quantity.ts';
import type { SmtpRelaySpec } from './smtprelay.ts';

type Rule = (spec: Pick<SmtpRelaySpec, 'services' | 'listeners' | 'queue'>) => readonly Problem[];

const servicesLeadToListeners: Rule = ({ services, listeners }) =>
  services.flatMap((service, at) =>
    service.listeners.flatMap((name, index) =>
      listeners.some((listener) => listener.name === name)
        ? []
        : [{ field: `.services[${at}].listeners[${index}]`, message: `there is no listener ${name}` }],
    ),
  );

/** The headless Service, by whose names replicas find each other, is RELAY-pods. */
const serviceNamesAreFree: Rule = ({ services }) =>
  services.flatMap(({ name }, at) =>
    name === 'pods' ? [{ field: `.services[${at}].name`, message: 'pods is the Service of the replicas' }] : [],
  );

const servicesSayWhatTheirTypeHas: Rule = ({ services }) =>
  services.flatMap(({ type, externalTrafficPolicy, loadBalancerClass }, at) => [
    ...(type === 'ClusterIP' && externalTrafficPolicy === 'Local'
      ? [{ field: `.services[${at}].externalTrafficPolicy`, message: 'Local is for NodePort and LoadBalancer' }]
      : []),
    ...(type !== 'LoadBalancer' && loadBalancerClass !== undefined
      ? [{ field: `.services[${at}].loadBalancerClass`, message: 'is for a Service of type LoadBalancer' }]
      : []),
  ]);

const LEAST_VOLUME_BYTES = 64 * 1024 * 1024;

const volumeHoldsTheReserve: Rule = ({ queue: { storage, minFree } }) => {
  const needed = Math.max(LEAST_VOLUME_BYTES, quantityBytes(minFree));
  if (quantityBytes(storage.size) > needed) return [];
  const message = `must be more than 64Mi and than queue.minFree (${minFree}), not ${storage.size}`;
  return [{ field: '.queue.storage.size', message }];
};

export const WORKLOAD_RULES: readonly Rule[] = [
  servicesLeadToListeners,
  serviceNamesAreFree,
  servicesSayWhatTheirTypeHas,
  volumeHoldsTheReserve,
];
