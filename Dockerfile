# A slim image, run as an ordinary user. Build: docker build -t housevoice .   Run: see compose.yaml
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential cmake git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The engine is compiled for any x86-64 machine since Haswell (2013), not for the one that builds the image. For other
# processors or a GPU: --build-arg ENGINE_CMAKE_ARGS="-DGGML_NATIVE=ON" or "-DGGML_CUDA=on".
ARG ENGINE_CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
COPY config/llama.cpp config/llama.cpp
RUN python -m venv /venv \
    && CMAKE_ARGS="-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_INCLUDE=/app/config/llama.cpp/engine.cmake ${ENGINE_CMAKE_ARGS}" \
       /venv/bin/pip install --no-cache-dir --constraint constraints.txt llama-cpp-python
COPY config config
COPY ingest ingest
COPY adapters adapters
COPY server server
# PyTorch's own index holds the build without CUDA, which is several GB smaller.
RUN /venv/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --constraint constraints.txt .

FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 housevoice && install -d -o housevoice -g housevoice -m 700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOUSEVOICE_DATA_DIR=/data HOUSEVOICE_HOST=0.0.0.0 HOUSEVOICE_PORT=8080
USER housevoice
WORKDIR /home/housevoice
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["housevoice"]
CMD ["serve"]
