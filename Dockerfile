# tcplab in a container: JupyterLab on port 8888, as an ordinary user, without any privileges.
#
#   docker build -t tcplab .          (podman build works alike)
#   docker run --rm -p 127.0.0.1:8888:8888 tcplab
#
# It runs for people of a JupyterHub, too: notebooks/for_teachers/hand_out.md.
# The default confinement of containers forbids namespaces inside, so that the Linux bench says why it does not
# run there and recorded captures are shown instead.
FROM python:3.13-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 1000 tcplab
USER tcplab
ENV PATH=/home/tcplab/.venv/bin:$PATH
RUN python -m venv /home/tcplab/.venv
WORKDIR /home/tcplab/tcplab

# The packages first: they change less often than the lessons.
COPY --chown=tcplab requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY --chown=tcplab . ./
RUN pip install --no-deps --no-build-isolation -e .
# As lab.py does: no question about news at JupyterLab's first start.
RUN python -c "import lab; lab.calm_jupyterlab('/home/tcplab/.venv')"

EXPOSE 8888
CMD ["jupyter", "lab", "--ServerApp.ip=0.0.0.0", "--no-browser", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]
