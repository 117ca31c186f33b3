// The page's side of DropZone: takes a file, by click or by drop, and hands it over in pieces.

const PIECE = 1 << 20; // far below the 10 MiB that a message to a Jupyter server may have
const AHEAD = 4; // pieces on their way at once

export default {
  render({ model, el }) {
    const zone = document.createElement("div");
    zone.className = "tcplab-drop";
    const label = document.createElement("label");
    label.append("Drop a capture file here, or choose one: ");
    const input = document.createElement("input");
    input.type = "file";
    // No list of endings: files of tcpdump often have none.
    label.append(input);
    zone.append(label);
    el.append(zone);

    let file = null;
    let transfer = 0; // which one: an older one's answers are not meant
    let sent = 0;

    const offer = (chosen) => {
      if (!chosen) return;
      file = chosen;
      sent = 0;
      transfer += 1;
      model.send({ begin: transfer, name: file.name, size: file.size });
    };

    const piece = async (number) => {
      const mine = file;
      if (!mine || sent >= mine.size) return;
      const at = sent;
      sent = Math.min(at + PIECE, mine.size);
      try {
        const bytes = await mine.slice(at, sent).arrayBuffer();
        if (number === transfer && file === mine) model.send({ piece: number, at }, undefined, [bytes]);
      } catch (error) {
        file = null;
        model.send({ failed: number, why: String(error.message ?? error) });
      }
    };

    const onMessage = (content) => {
      if (content.of !== transfer) return;
      if (content.say === "go") for (let i = 0; i < AHEAD; i++) piece(transfer);
      if (content.say === "more") piece(transfer);
      if (content.say === "stop") {
        file = null;
        input.value = "";
      }
    };
    model.on("msg:custom", onMessage);

    input.addEventListener("change", () => offer(input.files[0]));
    // JupyterLab takes what is dropped on a notebook for itself.
    const over = (event) => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.toggle("over", event.type === "dragover" || event.type === "dragenter");
      if (event.type === "drop") offer(event.dataTransfer.files[0]);
    };
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) zone.addEventListener(type, over);

    return () => model.off("msg:custom", onMessage);
  },
};
