// One request a line, {"tex": ..., "display": ...}; one answer a line, {"html": ...} or {"error": ...}.
const katex = require(process.argv[2]);
require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { tex, display, output } = JSON.parse(line);
    let answer;
    try {
      answer = {
        html: katex
          .renderToString(tex, {
            displayMode: display,
            output,
            throwOnError: true,
            strict: "error",
            macros: { "\\mid": "\\mathrel{\\vert}\\nobreak" }, // no line ends at "given"
          })
          .replace(/<\/?semantics>|<annotation.*?<\/annotation>/g, ""),
      };
    } catch (e) {
      answer = { error: String(e.message) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  });
