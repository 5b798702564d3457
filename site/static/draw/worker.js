// The network of the page Draw, in a thread of its own: onnxruntime and mnist-labels.onnx, both from this site.
importScripts("../ort/ort.wasm.min.js");
const here = (path) => new URL(path, self.location).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.wasm.wasmPaths = here("../ort/");
const NULL_CLASS = 10,
  SIZE = 28 * 28;

async function download(path, tell) {
  const answer = await fetch(here(path));
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  const parts = [];
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    tell(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

let loading = null;
const load = () =>
  (loading ??= (async () => {
    let bytes = 0;
    const tell = (n) => self.postMessage({ bytes: (bytes += n) });
    const [runtime, model] = await Promise.all([
      download("../ort/ort-wasm-simd-threaded.wasm", tell),
      download("mnist-labels.onnx", tell),
    ]);
    ort.env.wasm.wasmBinary = runtime.buffer;
    return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  })());

// v for images x, all at time t, told digits y; with guidance w, twice the batch
async function ask({ x, t, y, w }) {
  const session = await load(),
    n = y.length,
    twice = w !== 0 && y.some((k) => k !== NULL_CLASS),
    batch = twice ? 2 * n : n,
    images = new Float32Array(batch * SIZE);
  images.set(x);
  if (twice) images.set(x, n * SIZE);
  const whole = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [batch]),
    { v } = await session.run({
      xt: new ort.Tensor("float32", images, [batch, 1, 28, 28]),
      t: whole(Array(batch).fill(t)),
      y: whole(twice ? [...y, ...Array(n).fill(NULL_CLASS)] : y),
    }),
    answer = v.data;
  if (!twice) return answer;
  return Float32Array.from({ length: n * SIZE }, (_, i) => answer[i] + w * (answer[i] - answer[n * SIZE + i]));
}

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, v: data.x ? await ask(data) : (await load(), null) });
  } catch (e) {
    self.postMessage({ id: data.id, error: String(e?.message ?? e) });
  }
};
