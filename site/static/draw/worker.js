// The network of the page Draw, in a thread of its own: onnxruntime and mnist-labels.onnx, both from this site.
importScripts("../ort/ort.wasm.min.js");
const here = (path) => new URL(path, self.location).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "error";
ort.env.wasm.wasmPaths = here("../ort/");
const NULL_CLASS = 10,
  SIZE = 28 * 28,
  T = 1000;

async function download(path, tell, ...through) {
  const answer = await fetch(here(path));
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  const count = {
    transform(chunk, out) {
      tell(chunk.length);
      out.enqueue(chunk);
    },
  };
  const body = [new TransformStream(count), ...through].reduce((from, to) => from.pipeThrough(to), answer.body);
  return new Uint8Array(await new Response(body).arrayBuffer());
}

let loading = null;
const load = () =>
  (loading ??= (async () => {
    let bytes = 0;
    const tell = (n) => self.postMessage({ bytes: (bytes += n) });
    const [runtime, model] = await Promise.all([
      download("../ort/runtime.bin", tell, new DecompressionStream("gzip")), // packed by build.py
      download("mnist-labels.onnx", tell),
    ]);
    ort.env.wasm.wasmBinary = runtime.buffer;
    // No fused operators: for so small a network they are more code to compile, and take no less time
    const session = await ort.InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "basic",
    });
    await run(session, new Float32Array(2 * SIZE), T, [0, 0]); // the first call is slow: compilers warm up
    return session;
  })());

async function run(session, images, t, y) {
  const whole = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [y.length]),
    xt = new ort.Tensor("float32", images, [y.length, 1, 28, 28]),
    { v } = await session.run({ xt, t: whole(Array(y.length).fill(t)), y: whole(y) });
  return v.data;
}

// v for images x, all at time t, told digits y; with guidance w, twice the batch
async function ask({ x, t, y, w }) {
  const session = await load();
  if (w === 0 || y.every((k) => k === NULL_CLASS)) return run(session, x, t, y);
  const twice = new Float32Array(2 * x.length);
  twice.set(x);
  twice.set(x, x.length);
  const answer = await run(session, twice, t, [...y, ...y.map(() => NULL_CLASS)]);
  return x.map((_, i) => answer[i] + w * (answer[i] - answer[x.length + i]));
}

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, v: data.x ? await ask(data) : (await load(), null) });
  } catch (e) {
    loading = data.x ? loading : null; // it may be asked for again
    self.postMessage({ id: data.id, error: String(e?.message ?? e) });
  }
};
