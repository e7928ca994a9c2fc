(() => {
  const film = document.getElementById("film");
  if (!film) return;
  const frames = [...film.querySelectorAll("figure")];
  const moment = document.getElementById("moment");
  const play = document.getElementById("play");
  const charts = [...document.querySelectorAll(".charts")];
  const [left, width, last] = [{{ size.LEFT }}, {{ size.WIDTH - size.LEFT - size.RIGHT }}, {{ round or 1 }}];

  const show = (number) => {
    frames.forEach((frame, place) => frame.classList.toggle("shown", place === number));
    const round = Number(frames[number].dataset.round);
    const said = round.toLocaleString("en-US");
    document.getElementById("round").textContent = said;
    moment.setAttribute("aria-valuetext", "round " + said);
    document.querySelectorAll(".now").forEach((line) => {
      line.setAttribute("transform", "translate(" + (left + (width * Math.min(round, last)) / last) + " 0)");
    });
  };

  let clock = null;
  const stop = () => {
    clearInterval(clock);
    clock = null;
    play.textContent = "Play";
  };
  const next = () => {
    const number = (Number(moment.value) + 1) % frames.length;
    moment.value = number;
    show(number);
    if (number === frames.length - 1) stop();
  };
  play.addEventListener("click", () => {
    if (clock !== null) return stop();
    play.textContent = "Pause";
    clock = setInterval(next, 350);
  });
  moment.addEventListener("input", () => {
    stop();
    charts.forEach((chart) => chart.classList.add("live-now"));
    show(Number(moment.value));
  });

  film.classList.add("live");
  document.getElementById("controls").hidden = frames.length < 2;
  show(frames.length - 1);
})();
