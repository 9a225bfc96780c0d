// Makes one picture over gRPC and writes it as a PNG file. Says on standard error what happens on the way.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { failureOf } from './failure.mjs';

const MESSAGE_BYTES_MAX = 8 << 20; // of one answer; gRPC's own limit, 4 MiB, is less than plans of large fleets take
const CHANNEL_OPTIONS = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': 20_000, // a coordinator that is gone without a word is noticed within 30 s
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.enable_http_proxy': 0,
};
const PROTOS = fileURLToPath(new URL('../../../protos', import.meta.url));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: 'string', default: '127.0.0.1:50051' },
    output: { type: 'string', short: 'o', default: 'picture.png' },
    width: { type: 'string' },
    height: { type: 'string' },
    steps: { type: 'string' },
    seed: { type: 'string' },
    deadline: { type: 'string', default: '600' }, // seconds
  },
});
if (positionals.length !== 1) {
  console.error('usage: node generate.mjs PROMPT [-o FILE] [--address HOST:PORT] [--width PX] [--height PX] ...');
  process.exit(2);
}

const definition = loadSync('polyrhythm/v1/image_service.proto', {
  includeDirs: [PROTOS],
  keepCase: true, // names as in the protos
  longs: String, // a seed has 64 bits
  enums: String,
  defaults: true, // a number that is 0 is there too
  oneofs: true, // response.event names the field that is set
});
const { ImageService } = grpc.loadPackageDefinition(definition).polyrhythm.v1;
const client = new ImageService(options.address, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);

const image = { prompt: positionals[0] };
// What is left out is for the model to say, so nothing is sent for it.
for (const [field, value] of Object.entries({ width_px: options.width, height_px: options.height, steps: options.steps })) {
  if (value !== undefined) image[field] = Number(value);
}
if (options.seed !== undefined) image.seed = options.seed;

const pieces = [];
const call = client.Generate({ image }, { deadline: Date.now() + 1000 * Number(options.deadline) });
process.once('SIGINT', () => call.cancel()); // ends the job too
call.on('data', (response) => take(response.event, response[response.event]));
call.on('error', (error) => {
  const { reason, fields } = failureOf(error);
  console.error(`${grpc.status[error.code]} (${reason || 'from gRPC itself'}): ${error.details}`);
  for (const { field, description } of fields) console.error(`  ${field}: ${description}`);
  process.exitCode = 1;
  client.close();
});
call.on('end', () => client.close()); // comes after an error too

function take(name, event) {
  switch (name) {
    case 'job_accepted': {
      const { width_px, height_px, steps, seed } = event.image; // all defaults are filled in
      console.error(`${event.job}: ${width_px}x${height_px}, ${steps} steps, seed ${seed}`);
      break;
    }
    case 'job_queued':
      console.error(event.position === 0 ? 'begins' : `place ${event.position} in the queue`);
      break;
    case 'image_planned':
      console.error(event.explanation.chosen.label);
      break;
    case 'image_progressed':
      console.error(`step ${event.step} of ${event.steps}, about ${event.left_s.toFixed(1)} s left`);
      break;
    case 'image_chunk':
      pieces.push(event.data);
      if (event.last) writeFileSync(options.output, Buffer.concat(pieces));
      break;
    case 'image_completed':
      console.error(`${options.output}: ${event.report.agents.map(({ agent }) => agent).join(' and ')}`);
      break;
    default: // a later version of the coordinator may tell more; what is not of interest is passed over
  }
}
