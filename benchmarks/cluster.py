"""Answers from an S3 server and from a Ray cluster of which a node is killed, against one process; and what that costs.

python benchmarks/cluster.py [--photos 400] [--nodes 3]

Needs: pip install 'anklealign[ray]' 'moto[server]'. The S3 server is moto's, on this machine; so are the nodes, one core each. A node is
killed as soon as the first part is there. Photos are generated (synthetic): noise of 640 × 480 pixels. Every way must leave the same table.
"""
import logging
import os
import tempfile
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
from common import options, saved, timed
from PIL import Image

from anklealign.app import photos as many
from anklealign.app.photos import answer_all, find_photos
from anklealign.deploy import Predictor, to_csv
from anklealign.storage import place, write_atomic


def photo(seed):
    "A JPEG."
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels).resize((480, 640), Image.Resampling.BICUBIC), quality=90)


def s3_server():
    "The address of a bucket on a server of this process."
    from moto.server import ThreadedMotoServer
    logging.getLogger('werkzeug').setLevel('ERROR')
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {'AWS_ACCESS_KEY_ID': 'nobody', 'AWS_SECRET_ACCESS_KEY': 'nothing', 'AWS_ENDPOINT_URL': f'http://{host}:{port}',
                   'AWS_DEFAULT_REGION': 'us-east-1'}
    place('s3://heels').files.mkdir('heels')
    return 's3://heels'


def told(name, n, make):
    "What `make` gives; how long it took is printed."
    took, made = timed(make)
    print(f'{name:44}{took:9.1f} s{n/took:9.1f} photos/s', flush=True)
    return made


def table(folders, out):
    "The merged table."
    account = many.merge_answers(place(f'{out}/all.csv'), folders)
    assert account['photos'] == account['answered'] + account['withheld'] + account['unusable']
    return (place(out)/'all.csv').read_bytes().decode()


def of_cluster(predictor, photos, out, nodes, kill):
    "The folder that a cluster has filled; one of its nodes is killed after the first part if `kill`."
    import ray
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})
    more = [cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level='error')
    seen = threading.Event()
    def step(done, total):
        if done and kill and not seen.is_set():
            seen.set()
            cluster.remove_node(more[-1], allow_graceful=False)
    try: return told(f'Ray, {nodes} nodes{", one killed" if kill else ""}', len(photos),
                      lambda: many.answer_shard(predictor, photos, place(out), ray=cluster.address, step=step))
    finally:
        ray.shutdown()
        cluster.shutdown()


def main():
    args = options(__doc__, photos=400, nodes=3)
    predictor, bucket = Predictor(), s3_server()
    with tempfile.TemporaryDirectory() as d, patch.object(many, 'PART', 16):
        for i in range(args.photos):
            (Path(d)/'photos'/f'{i % 7}').mkdir(parents=True, exist_ok=True)
            (Path(d)/'photos'/f'{i % 7}'/f'{i}.jpg').write_bytes(photo(i))
            write_atomic(place(f'{bucket}/photos/{i % 7}/{i}.jpg'), photo(i))
        here, there = find_photos([Path(d)/'photos']), find_photos([f'{bucket}/photos'])
        whole = told('one process', len(here), lambda: to_csv(answer_all(predictor, here)))
        same = {'from S3, answers to S3, one process': table([told('from S3, answers to S3, one process', len(there), lambda: many.answer_shard(
            predictor, there, place(f'{bucket}/answers')))], bucket).replace(f'{bucket}/', f'{d}/')}
        for kill in (False, True):
            same[f'Ray, killed: {kill}'] = table([of_cluster(predictor, there, f'{d}/{kill}', args.nodes, kill)], d).replace(f'{bucket}/', f'{d}/')
        for name, made in same.items(): assert made == whole, name
    print(f'{args.photos} synthetic photos, {os.cpu_count()} cores: {len(same)} other ways left the same table, byte for byte')


if __name__ == '__main__': main()
