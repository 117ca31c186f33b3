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
WORKDIR /home/tcplab/tcplab
COPY --chown=tcplab . ./
# What a learner needs, with hashes, in .venv.
RUN python lab.py setup
ENV PATH=/home/tcplab/tcplab/.venv/bin:$PATH

EXPOSE 8888
CMD ["jupyter", "lab", "--ServerApp.ip=0.0.0.0", "--no-browser", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]
