// Reads the details of a failed call: google.rpc.Status in the trailing metadata, with ErrorInfo and BadRequest.
import protobuf from 'protobufjs';

const DETAILS_KEY = 'grpc-status-details-bin';
const DOMAIN = 'polyrhythm';

const strings = (...names) => Object.fromEntries(names.map((name, index) => [name, { type: 'string', id: index + 1 }]));
const { nested } = protobuf.Root.fromJSON({
  nested: {
    Any: { fields: { type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } },
    Status: { fields: { details: { rule: 'repeated', type: 'Any', id: 3 } } },
    ErrorInfo: { fields: strings('reason', 'domain') },
    FieldViolation: { fields: strings('field', 'description') },
    BadRequest: { fields: { violations: { rule: 'repeated', type: 'FieldViolation', id: 1 } } },
  },
});

/**
 * What the coordinator says of a failure.
 *
 * @param {import('@grpc/grpc-js').ServiceError} error
 * @returns {{reason: string, fields: {field: string, description: string}[]}} reason: such as INVALID_ARGUMENT; empty
 *     where the error is not the coordinator's. fields: what is wrong with the request, by paths from it on.
 */
export function failureOf(error) {
  const failure = { reason: '', fields: [] };
  const [content] = error.metadata?.get(DETAILS_KEY) ?? [];
  if (content === undefined) return failure;
  for (const { type_url, value } of nested.Status.decode(content).details) {
    if (type_url.endsWith('/google.rpc.ErrorInfo')) {
      const { reason, domain } = nested.ErrorInfo.decode(value);
      if (domain === DOMAIN) failure.reason = reason;
    } else if (type_url.endsWith('/google.rpc.BadRequest')) {
      failure.fields = nested.BadRequest.decode(value).violations;
    }
  }
  return failure;
}
