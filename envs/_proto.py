import numpy as np, gymnasium, mujoco, os
from mujoco import rollout
from metarl.envs.family import *
XML=os.path.join(os.path.dirname(gymnasium.__file__),'envs/mujoco/assets/half_cheetah.xml')
class Sim:
    def __init__(s,threads):
        s.m=mujoco.MjModel.from_xml_path(XML); s.d=[mujoco.MjData(s.m) for _ in range(threads)]
        s.r=rollout.Rollout(nthread=0 if threads==1 else threads)
    def reset(s,tasks,seeds):
        T,E=seeds.shape; N=T*E; s.shape=(T,E)
        s.x=np.zeros((N,19)); 
        for i,q in enumerate(seeds.ravel()):
            g=np.random.default_rng(q); s.x[i,1:10]=g.uniform(-.1,.1,9); s.x[i,10:]=.1*g.standard_normal(9)
        s.out=np.empty((N,5,19)); s.sd=np.empty((N,5,0)); s.c=np.empty((N,5,6)); s.models=[s.m]*N
        s.task=np.repeat(tasks[:,0],E)
        return s.obs()
    def obs(s):
        q=s.x
        return np.concatenate([q[:,2:19],q[:,1:2],np.zeros((len(q),1)),q[:,2:3]+.7],1).reshape(*s.shape,20)
    def step(s,a):
        a=np.clip(a,-1,1).reshape(-1,6); s.c[:]=a[:,None]
        s.r.rollout(s.models,s.d,s.x,s.c,state=s.out,sensordata=s.sd,nstep=5,skip_checks=True)
        new=np.ascontiguousarray(s.out[:,-1]); v=(new[:,1]-s.x[:,1])/.05; s.x=new
        r=-np.abs(v-s.task)-.05*(a**2).sum(-1)
        return Transition(s.obs(),r.reshape(s.shape),np.zeros(s.shape,bool))
    def close(s): s.r.close()
B=gymnasium.spaces.Box
cheetah=TaskFamily("half-cheetah-velocity",(TaskField("target_velocity",0,2,"m/s"),),B(-np.inf,np.inf,(20,)),B(-1.,1.,(6,)),200,Sim,None,lambda n,g:g.uniform(0,2,(n,1)))
class Nav:
    def __init__(s,threads): pass
    def reset(s,tasks,seeds):
        s.p=np.zeros((*seeds.shape,2)); s.g=tasks[:,None]; return s.p
    def step(s,a):
        s.p=s.p+np.clip(a,-.1,.1); d=s.p-s.g
        return Transition(s.p,-np.linalg.norm(d,axis=-1),(np.abs(d)<.01).all(-1))
    def close(s): pass
nav=TaskFamily("navigation-2d",(TaskField("goal_x",-.5,.5),TaskField("goal_y",-.5,.5)),B(-np.inf,np.inf,(2,)),B(-.1,.1,(2,)),200,Nav,None,lambda n,g:g.uniform(-.5,.5,(n,2)))
