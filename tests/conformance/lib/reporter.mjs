// One JSON line per finished test, for pytest to read.
export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    if (data.details?.type === "suite") continue;
    const { error } = data.details ?? {};
    const cause = error?.cause ?? error;
    yield `${JSON.stringify({
      name: data.name,
      status: data.skip !== undefined || data.todo !== undefined ? "left out" : type === "test:pass" ? "passed" : "failed",
      error: cause ? said(cause) : "",
    })}\n`;
  }
}

function said(error) {
  const lines = [String(error.stack ?? error.message ?? error)];
  for (let cause = error.cause; cause; cause = cause.cause) {
    lines.push(`caused by: ${cause.stack ?? JSON.stringify(cause, null, 1)}`);
  }
  return lines.join("\n");
}
