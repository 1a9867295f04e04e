"use strict";
// Numbers behind a picture: the nearest one under the pointer, or the next one by the arrow keys.
for (const figure of document.querySelectorAll("figure.picture")) {
  const svg = figure.querySelector("svg");
  const readout = figure.querySelector(".readout");
  const marks = [...svg.querySelectorAll(".marks circle")].map((circle) => {
    const title = circle.querySelector("title");
    const told = title.textContent;
    title.remove(); // or the browser would show it a second time
    return { circle, told, x: circle.cx.baseVal.value, y: circle.cy.baseVal.value };
  });
  if (!marks.length) continue;
  let here = -1;
  const show = (k) => {
    if (here >= 0) marks[here].circle.classList.remove("here");
    here = k;
    if (k >= 0) marks[k].circle.classList.add("here");
    readout.textContent = k >= 0 ? marks[k].told : "";
  };
  show(-1);
  const wrapper = figure.querySelector(".drawing");
  wrapper.tabIndex = 0;
  wrapper.setAttribute("role", "group");
  wrapper.setAttribute("aria-label", svg.getAttribute("aria-label") + ". Arrow keys move through its numbers.");
  const near = (event) => {
    const matrix = svg.getScreenCTM();
    if (!matrix) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let best = -1;
    let least = 400; // square of 20 points
    marks.forEach((mark, k) => {
      const distance = (mark.x - at.x) ** 2 + (mark.y - at.y) ** 2;
      if (distance <= least) [best, least] = [k, distance];
    });
    if (best !== here) show(best);
  };
  svg.addEventListener("pointermove", near);
  svg.addEventListener("pointerdown", near);
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
  wrapper.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by === undefined && event.key !== "Escape") return;
    event.preventDefault();
    show(by === undefined ? -1 : here < 0 ? 0 : (here + by + marks.length) % marks.length);
  });
}
for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
// Points of a sweep, one at a time.
const points = [...document.querySelectorAll("article.point")];
const mover = document.querySelector(".mover");
if (mover && points.length) {
  const select = mover.querySelector("select");
  const slider = mover.querySelector("input");
  const move = (to) => {
    const k = Math.min(points.length - 1, Math.max(0, Number(to)));
    points.forEach((point, j) => (point.hidden = j !== k));
    select.value = String(k);
    slider.value = String(k);
    slider.setAttribute("aria-valuetext", select.options[k].textContent);
  };
  mover.hidden = false;
  select.addEventListener("change", () => move(select.value));
  slider.addEventListener("input", () => move(slider.value));
  mover.querySelector(".back").addEventListener("click", () => move(Number(slider.value) - 1));
  mover.querySelector(".on").addEventListener("click", () => move(Number(slider.value) + 1));
  move(0);
}
